"""How much of what befalls people's deliveries is found, and that nothing else is claimed."""

from __future__ import annotations

import msgspec
import pytest

from tests.explain.received import Received
from tests.explain.situations import LOST, OLD, SECRET, SITUATIONS
from tests.explain.test_hints import OF_THE_HEADER

every_situation = pytest.mark.parametrize("name", SITUATIONS)
every_loss = pytest.mark.parametrize("name", LOST)
# Less than a second for 2 KB, on any machine.
_MOST_SIGNATURES = 40_000


@every_situation
def test_what_can_be_restored_is_found_and_proven(name: str) -> None:
    received, codes = SITUATIONS[name]
    explanation = received.explained()
    assert {cause.code for cause in explanation.causes} == codes
    assert explanation.is_proven
    assert len(explanation.causes) == len(codes), "a cause is told once"


@every_loss
def test_what_is_lost_has_no_cause_that_is_called_proven(name: str) -> None:
    explanation = LOST[name].explained()
    assert {cause.code for cause in explanation.causes} <= OF_THE_HEADER
    assert not explanation.is_proven
    assert explanation.is_complete
    assert explanation.tried < _MOST_SIGNATURES


def test_there_are_enough_of_them() -> None:
    assert len(SITUATIONS) >= 60
    assert len([codes for _, codes in SITUATIONS.values() if len(codes) > 1]) >= 20
    assert len(LOST) >= 20


@pytest.mark.parametrize("received", [*LOST.values(), *(each for each, _ in SITUATIONS.values())])
def test_neither_secret_nor_value_of_the_body_is_shown(received: Received) -> None:
    shown = msgspec.json.encode(received.explained()).decode()
    for private in (SECRET, SECRET[:12], OLD, "Lindstr", "kraeuter", "K-1", "GL77001"):
        assert private not in shown
