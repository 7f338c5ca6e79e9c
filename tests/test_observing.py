"""What an observer is told of each request, and that it changes nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest

from karla_receiver import (
    ConfigurationError,
    DeliveryError,
    Discard,
    Event,
    Observation,
    Reason,
    Receiver,
    Request,
    RequestError,
    RetryLater,
    ShipmentEvent,
    parse_event,
)
from karla_receiver.idempotency import Claim, ClaimState
from karla_receiver.inbox import Novelty
from tests.observed import Keeper, Remembering
from tests.receiving import Receive
from tests.signing import BODY, NOW, SECRET, signed


def observed(receive: Receive, request: Request, **options: Any) -> Observation:
    keeper = Keeper()
    receiver = Receiver("new-secret", SECRET, clock=lambda: NOW, observer=keeper, **options)
    receiver.on("shipments")(lambda event: None)
    response = receive(receiver, request)
    (told,) = keeper.told
    assert (told.status, told.reason, keeper.begun) == (response.status, response.reason, 1)
    return told


def test_a_handled_delivery_is_told_in_full(receive: Receive) -> None:
    started = time.perf_counter()
    told = observed(receive, signed(timestamp=NOW - 7))

    assert told.seconds <= time.perf_counter() - started
    assert isinstance(told.event, ShipmentEvent)
    assert (told.body_bytes, told.clock_skew, told.secret_index) == (len(BODY), 7, 1)
    assert told.handler_seconds is not None
    assert 0 <= told.handler_seconds <= told.seconds
    assert (told.is_duplicate, told.is_near_duplicate) == (False, False)


@pytest.mark.parametrize(
    ("raised", "expected", "reason", "is_discarded", "outcome"),
    [
        (None, None, None, False, "handled"),
        (KeyError("x"), DeliveryError, Reason.HANDLER_ERROR, False, "handler_error"),
        (RetryLater(5), RetryLater, Reason.RETRY_LATER, False, "retry_later"),
        (Discard("spam"), Discard, None, True, "discarded"),
    ],
)
def test_what_came_of_an_attempt_is_told(
    raised: Exception | None,
    expected: type[Exception] | None,
    reason: Reason | None,
    is_discarded: bool,
    outcome: str,
) -> None:
    receiver = Receiver(SECRET)

    @receiver.on("shipments")
    def handle(event: Event) -> None:
        if raised is not None:
            raise raised

    event, seen = parse_event(BODY), Observation(is_attempt=True)
    after_each: list[Exception | None] = []
    with nullcontext() if expected is None else pytest.raises(expected):
        receiver.handlers.handle(event, seen, after_each.append)
    assert after_each == [raised]
    assert (seen.event, seen.reason, seen.is_discarded) == (event, reason, is_discarded)
    assert (seen.outcome, seen.is_parked) == (outcome, False)
    assert seen.handler_seconds is not None


@pytest.mark.parametrize(
    ("request_", "reason", "skew", "has_event"),
    [
        (Request("GET", {}, b""), Reason.METHOD_NOT_ALLOWED, None, False),
        (Request("POST", {}, BODY), Reason.MISSING_SIGNATURE, None, False),
        (signed(secret="another-secret", timestamp=NOW), Reason.SIGNATURE_MISMATCH, None, False),
        (signed(timestamp=NOW - 301), Reason.TIMESTAMP_TOO_OLD, 301, False),
        (signed(timestamp=NOW + 301), Reason.TIMESTAMP_IN_FUTURE, -301, False),
        (signed(b"{}", timestamp=NOW + 1), Reason.INVALID_ENVELOPE, -1, False),
        (
            signed(BODY.replace(b'"shipment_id"', b'"x"', 1), timestamp=NOW),
            Reason.UNDECODABLE_EVENT,
            0,
            True,
        ),
    ],
)
def test_a_refusal_is_told_as_far_as_it_came(
    receive: Receive, request_: Request, reason: Reason, skew: float | None, has_event: bool
) -> None:
    told = observed(receive, request_)
    assert (told.reason, told.clock_skew, told.event is not None) == (reason, skew, has_event)
    # Whatever is genuine says which secret is still in use, the late too.
    assert told.secret_index == (None if skew is None else 1)


@pytest.mark.parametrize(
    ("body", "label"),
    [
        (BODY, "shipment_delivered"),
        (BODY.replace(b"shipment_delivered", b"shipment_teleported"), "other"),
        (b"{}", "none"),
    ],
)
def test_a_group_is_a_label_of_few_values(receive: Receive, body: bytes, label: str) -> None:
    assert observed(receive, signed(body, timestamp=NOW)).known_group == label


@pytest.mark.parametrize(
    ("claim", "is_duplicate", "is_near_duplicate"),
    [
        (Claim(ClaimState.CLAIMED, "token"), False, False),
        (Claim(ClaimState.CLAIMED, "token", is_near_duplicate=True), False, True),
        (Claim(ClaimState.DONE), True, False),
    ],
)
def test_duplicates_are_told(
    receive: Receive, claim: Claim, is_duplicate: bool, is_near_duplicate: bool
) -> None:
    told = observed(receive, signed(timestamp=NOW), idempotency=Remembering(claim))
    assert (told.is_duplicate, told.is_near_duplicate) == (is_duplicate, is_near_duplicate)
    assert (told.handler_seconds is None) is is_duplicate


@pytest.mark.parametrize("novelty", Novelty)
def test_an_inbox_tells_duplicates_too(receive: Receive, novelty: Novelty) -> None:
    class Inbox:
        key: Any = None

        def attach(self, handlers: object, verifier: object, observer: object) -> None:
            """Have no use for it."""

        def put(self, delivery: object) -> Novelty:
            return novelty

        async def put_async(self, delivery: object) -> Novelty:
            return novelty

    told = observed(receive, signed(timestamp=NOW), inbox=Inbox())
    assert told.is_duplicate is (novelty == "duplicate")
    assert told.is_near_duplicate is (novelty == "near_duplicate")
    assert told.handler_seconds is None


def test_a_sender_that_went_away_is_told_without_a_status() -> None:
    def chunks() -> Iterator[bytes]:
        yield BODY[:10]
        raise RequestError(Reason.CLIENT_DISCONNECTED)

    keeper = Keeper()
    receiver = Receiver(SECRET, observer=keeper)
    with pytest.raises(RequestError):
        receiver.receive(signed(body=chunks()))
    (told,) = keeper.told
    assert (told.status, told.reason, told.body_bytes) == (None, Reason.CLIENT_DISCONNECTED, 10)


def test_a_handler_that_is_broken_off_is_told_without_an_answer(receive: Receive) -> None:
    keeper = Keeper()
    receiver = Receiver(SECRET, observer=keeper, clock=lambda: NOW)

    @receiver.on("*")
    def handler(event: Event) -> None:
        raise SystemExit

    with pytest.raises(SystemExit):
        receiver.receive(signed(timestamp=NOW))
    (told,) = keeper.told
    assert (told.status, told.reason) == (None, None)
    assert told.handler_seconds is not None


def test_what_a_handler_wants_later_is_told(receive: Receive) -> None:
    keeper = Keeper()
    receiver = Receiver(SECRET, observer=keeper, clock=lambda: NOW)

    @receiver.on("*")
    def handler(event: Event) -> None:
        raise RetryLater(5)

    assert receive(receiver, signed(timestamp=NOW)).status == 503
    assert keeper.told[0].reason is Reason.RETRY_LATER


@pytest.mark.parametrize(
    ("answered", "outcome", "reason"),
    [
        (202, None, None),
        (202, Discard("of no concern"), None),
        (302, None, Reason.HANDLER_ERROR),
        (404, Discard("of no concern"), Reason.HANDLER_ERROR),
        (429, None, Reason.HANDLER_ERROR),
        (200, ValueError(), Reason.HANDLER_ERROR),  # by a handler: the view is not called
        (202, RetryLater(5), Reason.RETRY_LATER),
    ],
)
@pytest.mark.parametrize("store", [None, Remembering(Claim(ClaimState.CLAIMED, "token"))])
def test_what_a_view_answers_is_what_is_told_and_logged(
    receive: Receive,
    answered: int,
    outcome: Exception | None,
    reason: Reason | None,
    store: Remembering | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    keeper = Keeper()
    receiver = Receiver(SECRET, observer=keeper, clock=lambda: NOW, idempotency=store)

    @receiver.on("*")
    def handler(event: Event) -> None:
        if outcome is not None:
            raise outcome

    response = receive(receiver, signed(timestamp=NOW), view=lambda event: answered)
    (told,) = keeper.told
    is_called = outcome is None or isinstance(outcome, Discard)
    assert (told.status, told.reason) == (answered if is_called else response.status, reason)
    refusals = [record for record in caplog.records if hasattr(record, "reason")]
    logged = [(vars(record)["reason"], vars(record)["status"]) for record in refusals]
    assert logged == ([] if reason is None else [(reason, told.status)])
    if reason is not None:
        assert f"(status {told.status}, " in refusals[0].getMessage()


def test_an_event_is_handled_for_a_worker_that_observes_nothing() -> None:
    receiver = Receiver(SECRET)
    events: list[Event] = []
    receiver.on("*")(events.append)
    event = parse_event(BODY)
    receiver.handlers.handle(event)
    assert events == [event]


@pytest.mark.parametrize("place", ["begin", "finish"])
def test_an_observer_that_raises_changes_no_answer(
    receive: Receive, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def begin(self) -> Callable[[Observation], object]:
            if place == "begin":
                raise LookupError
            return self.finish

        def finish(self, observation: Observation) -> None:
            raise LookupError

    receiver = Receiver(SECRET, observer=Broken(), clock=lambda: NOW)
    assert receive(receiver, signed(timestamp=NOW)).status == 200
    assert "the observer raised" in caplog.text


@pytest.mark.parametrize(
    ("observer", "remedy"), [(Keeper, "the class Keeper"), ("prometheus", "not str")]
)
def test_what_is_no_observer_is_refused(observer: Any, remedy: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        Receiver(SECRET, observer=observer)
    assert remedy in str(refusal.value)
