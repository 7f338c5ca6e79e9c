from __future__ import annotations

import hashlib
import json

import pytest

from karla_receiver import ConfigurationError, samples
from tests.attack_table import DATA


def test_there_are_samples_of_every_kind() -> None:
    names = samples.names()

    assert len(names) == 22
    assert names == sorted(names)
    assert {"shipment_delivered", "claim_created", "unknown_future_event"} <= set(names)


def test_samples_are_the_very_bytes_that_were_signed() -> None:
    for row in json.loads((DATA / "signatures.json").read_bytes()):
        body = samples.read(row["file"].removesuffix(".json"))
        assert hashlib.sha256(body).hexdigest() == row["body_sha256"]


@pytest.mark.parametrize("name", ["nothing", "", "../errors", "signatures"])
def test_a_sample_that_is_not_there_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(ConfigurationError, match="claim_created, "):
        samples.read(name)
