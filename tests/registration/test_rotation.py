from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
import time_machine

from karla_receiver import ConfigurationError
from karla_receiver.registration import Status, Step, Webhook, next_step
from tests.registration.clients import URL

NOW = datetime(2026, 4, 1, tzinfo=UTC)


def webhook(uuid: str, seconds: float | None, status: str = "active") -> Webhook:
    created = None if seconds is None else NOW - timedelta(seconds=seconds)
    return Webhook(uuid=uuid, url=URL, enabled_events=("*",), status=status, created_at=created)


@pytest.mark.parametrize(
    ("seconds", "age"),
    [
        (None, "of unknown age"),
        (-5, "new"),
        (1, "new"),
        (119, "119 seconds old"),
        (120, "2 minutes old"),
        (7200, "2 hours old"),
        (86_400 * 90, "90 days old"),
    ],
)
def test_an_age_is_in_words(seconds: float | None, age: str) -> None:
    with time_machine.travel(NOW, tick=False):
        assert webhook("it", seconds).age == age


def test_a_rotation_begins_with_a_second_webhook_and_ends_with_one_less() -> None:
    old, new = webhook("old", 100), webhook("new", 1)
    switched_off = msgspec.structs.replace(new, status=Status.INACTIVE)

    assert next_step([old], URL).step is Step.CREATE
    for both in ([old, switched_off], [switched_off, old]):
        assert next_step(both, URL).step is Step.ACTIVATE
    for both in ([old, new], [new, old]):
        rotation = next_step(both, URL)
        assert (rotation.step, rotation.old, rotation.new) == (Step.DELETE, old, new)


@pytest.mark.parametrize("ages", [(None, 1), (1, None), (1, 1)])
def test_a_webhook_of_unknown_age_is_not_taken_for_the_old_one(
    ages: tuple[float | None, float | None],
) -> None:
    with pytest.raises(ConfigurationError, match="is older is not known: a "):
        next_step([webhook("a", ages[0]), webhook("b", ages[1])], URL)


def test_other_urls_do_not_matter() -> None:
    with pytest.raises(ConfigurationError, match="no webhook is registered for"):
        next_step([webhook("a", 1)], f"{URL}/other")
