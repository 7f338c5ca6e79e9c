"""What is seen of a delivery that no handler wants: it is acknowledged, but not in silence."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from karla_receiver import Event, Observation, Receiver, parse_event
from karla_receiver.idempotency import MemoryStore
from tests.observed import Keeper
from tests.receiving import Receive
from tests.signing import BODY, SECRET, signed

CLAIMS = "claims/created"


def body(ref: str) -> bytes:
    return BODY.replace(b"shipments/delivered/SUCCESSFULLY_DELIVERED", ref.encode())


def receiver_of(**options: Any) -> tuple[Receiver, Keeper]:
    keeper = Keeper()
    receiver = Receiver(SECRET, observer=keeper, **options)
    receiver.on(CLAIMS)(lambda event: pytest.fail("called"))
    return receiver, keeper


@pytest.mark.parametrize("has_store", [False, True])
def test_a_delivery_that_no_handler_wants_is_acknowledged_observed_and_logged(
    receive: Receive, has_store: bool, caplog: pytest.LogCaptureFixture
) -> None:
    receiver, keeper = receiver_of(idempotency=MemoryStore() if has_store else None)

    assert receive(receiver, signed()).status == 200

    (seen,) = keeper.told
    assert (seen.is_unwanted, seen.reason, seen.handler_seconds) == (True, None, None)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "no handler wants this delivery: ref 'shipments/delivered/SUCCESSFULLY_DELIVERED', event"
        " group 'shipment_delivered'. It is acknowledged, and nothing else is done. Later ones with"
        " this ref are not logged."
    )
    assert vars(record)["ref"] == "shipments/delivered/SUCCESSFULLY_DELIVERED"
    assert vars(record)["event_group"] == "shipment_delivered"


def test_without_an_observer_it_is_logged_too(
    receive: Receive, caplog: pytest.LogCaptureFixture
) -> None:
    assert receive(Receiver(SECRET), signed()).status == 200
    assert len(caplog.records) == 1


def test_each_is_observed_and_each_ref_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    receiver, keeper = receiver_of()
    refs = ["shipments/collect/A", "shipments/collect/B", "shipments/collect/A"]
    for ref in refs:
        receiver.receive(signed(body(ref)))

    assert [seen.is_unwanted for seen in keeper.told] == [True, True, True]
    assert [vars(record)["ref"] for record in caplog.records] == refs[:2]


def test_events_without_a_ref_are_logged_once_for_each_group(
    caplog: pytest.LogCaptureFixture,
) -> None:
    receiver, _ = receiver_of()
    for group in ("x", "y", "x"):
        receiver.receive(signed(b'{"event_group":"%s"}' % group.encode()))

    assert [vars(record)["event_group"] for record in caplog.records] == ["x", "y"]


def test_made_up_refs_take_no_memory_without_end(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("karla_receiver.handlers.unwanted._MOST_REFS", 3)
    receiver, keeper = receiver_of()
    for number in range(6):
        receiver.receive(signed(body(f"shipments/collect/{number}")))

    assert len([seen for seen in keeper.told if seen.is_unwanted]) == 6
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 4
    assert messages[3] == (
        "no handler wants more than 3 different refs: further ones are not logged"
    )


def test_a_long_ref_is_kept_and_logged_as_its_beginning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    receiver, _ = receiver_of()
    for end in ("one", "other"):
        receiver.receive(signed(body("shipments/collect/" + "x" * 10_000 + end)))

    (record,) = caplog.records
    assert len(record.getMessage()) < 400


def test_what_a_view_gets_is_wanted(receive: Receive, caplog: pytest.LogCaptureFixture) -> None:
    receiver, keeper = receiver_of()
    receive(receiver, signed(), lambda event: None)

    assert [seen.is_unwanted for seen in keeper.told] == [False]
    assert caplog.records == []


def test_a_copy_of_an_unwanted_delivery_is_a_duplicate() -> None:
    receiver, keeper = receiver_of(idempotency=MemoryStore())
    request = signed()
    receiver.receive(request)
    receiver.receive(request)

    assert [(seen.is_unwanted, seen.is_duplicate) for seen in keeper.told] == [
        (True, False),
        (False, True),
    ]


def test_a_worker_reports_it_as_the_outcome_of_its_attempt(
    caplog: pytest.LogCaptureFixture,
) -> None:
    receiver, _ = receiver_of()
    seen = Observation(is_attempt=True)
    ended: list[Exception | None] = []
    event: Event = parse_event(BODY)

    receiver.handlers.handle(event, seen, ended.append)

    assert (seen.outcome, seen.is_unwanted, seen.event) == ("unwanted", True, event)
    assert ended == []
    assert len(caplog.records) == 1
