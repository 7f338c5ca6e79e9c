"""How late, or how early."""

from __future__ import annotations

from dataclasses import replace

from karla_receiver import Reason, sign
from karla_receiver.explain import explain
from tests.explain.received import (
    COMPACT,
    GENUINE,
    SECRET,
)
from tests.signing import NOW


def test_evidence_names_the_size_of_a_skew() -> None:
    (told,) = replace(GENUINE, now=NOW - 1000.5).explained().causes
    assert told.evidence == (
        "received 1000.5 s before the time that was signed, where 300 s are allowed"
    )


def test_the_tolerance_is_the_callers() -> None:
    assert explain(COMPACT, GENUINE.header, SECRET, now=NOW + 1000, tolerance=1000).verifies
    refused = explain(COMPACT, GENUINE.header, SECRET, now=NOW + 11, tolerance=10)
    assert refused.reason is Reason.TIMESTAMP_TOO_OLD


def test_now_is_the_present_unless_given() -> None:
    assert explain(COMPACT, sign(COMPACT, SECRET), SECRET).verifies
    assert explain(COMPACT, GENUINE.header, SECRET).reason is Reason.TIMESTAMP_TOO_OLD
