"""What is said of a cause."""

from __future__ import annotations

import msgspec
import pytest

from karla_receiver.explain import Code, Explanation, explain
from karla_receiver.explain.advice import cause
from karla_receiver.explain.causes import Change
from tests.explain.received import (
    COMPACT,
    GENUINE,
    SECRET,
    redumped,
    with_body,
)
from tests.signing import NOW


@pytest.mark.parametrize("code", Code)
def test_every_cause_says_what_happened_what_to_do_and_where_it_happens(code: Code) -> None:
    told = cause(Change(code, "evidence"))

    assert (told.code, told.evidence) == (code, "evidence")
    assert told.sentence.endswith(".")
    assert told.fix.endswith(".")
    assert told.where
    assert all(place and habit for place, habit in told.where.items())


def test_an_explanation_survives_json() -> None:
    explanation = with_body(redumped()).explained()
    assert msgspec.json.decode(msgspec.json.encode(explanation), type=Explanation) == explanation


def test_evidence_names_both_styles_of_json() -> None:
    (told,) = with_body(redumped()).explained().causes
    assert told.evidence == (
        "what was signed has no blanks (JSON.stringify, PHP, orjson), non-ASCII as it is; what came"
        " is written with blanks after , and : (Python's json.dumps), non-ASCII as \\u"
    )


def test_evidence_names_the_secret_by_its_place() -> None:
    explanation = explain(COMPACT, GENUINE.header, "another-secret", f"'{SECRET}'", now=NOW)
    assert [each.evidence for each in explanation.causes] == [
        "secret 2, without the quotes around it"
    ]
