"""What a receiver does around its handlers when it has a store, an inbox, or both."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest

from karla_receiver import (
    ConfigurationError,
    Discard,
    Event,
    Reason,
    Receiver,
    Request,
    RetryLater,
    SignatureError,
    current_attempt,
    parse_event,
    sign,
)
from karla_receiver.adapters.asgi import KarlaMiddleware
from karla_receiver.adapters.flask import webhook
from karla_receiver.adapters.redis import RedisStore
from karla_receiver.delivery import Delivery
from karla_receiver.errors import DeliveryError, StorageError
from karla_receiver.handlers import Handlers
from karla_receiver.idempotency import (
    Claim,
    ClaimState,
    MemoryStore,
    SQLiteStore,
    occurrence_key,
)
from karla_receiver.idempotency.keys import delivery_key
from karla_receiver.inbox import SQLiteInbox
from karla_receiver.inbox.protocol import Novelty
from karla_receiver.observing import Observer
from karla_receiver.signature import Verifier, parse_header
from karla_receiver.stages import Incoming
from tests.observed import Keeper
from tests.receiving import Receive
from tests.signing import BODY, SECRET, signature_header, signed


class ScriptedStore:
    """A store that answers a claim as it is told, and keeps what was asked of it."""

    blocks = False
    key: Any = None

    def __init__(
        self,
        state: ClaimState = ClaimState.CLAIMED,
        *,
        is_near_duplicate: bool = False,
        **broken: Exception,
    ) -> None:
        self.verbs: list[tuple[str, ...]] = []
        token = "a-token" if state == ClaimState.CLAIMED else ""
        self._claim = Claim(state, token, is_near_duplicate)
        self._broken = broken

    def claim(self, key: str, occurrence: str) -> Claim:
        self._note("claim", key, occurrence)
        return self._claim

    def done(self, key: str, token: str) -> None:
        self._note("done", key, token)

    def release(self, key: str, token: str) -> None:
        self._note("release", key, token)

    def _note(self, *call: str) -> None:
        self.verbs.append(call)
        if call[0] in self._broken:
            raise self._broken[call[0]]


class BlockingStore(ScriptedStore):
    blocks = True


class AsyncStore(ScriptedStore):
    async def claim(self, key: str, occurrence: str) -> Claim:  # type: ignore[override]
        await asyncio.sleep(0)
        return super().claim(key, occurrence)


class BlockingAsyncStore(AsyncStore):
    blocks = True


class ListInbox:
    """An inbox without a disk."""

    key: Any = None

    def __init__(self, broken: Exception | None = None, novelty: Novelty = Novelty.NEW) -> None:
        self._novelty = novelty
        self.deliveries: list[Delivery] = []
        self.attached: list[tuple[Handlers, Verifier, Observer | None]] = []
        self._broken = broken

    def attach(self, handlers: Handlers, verifier: Verifier, observer: Observer | None) -> None:
        self.attached.append((handlers, verifier, observer))

    def put(self, delivery: Delivery) -> Novelty:
        if self._broken is not None:
            raise self._broken
        self.deliveries.append(delivery)
        return self._novelty

    async def put_async(self, delivery: Delivery) -> Novelty:
        await asyncio.sleep(0)
        return self.put(delivery)


# --- idempotency ---------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [ScriptedStore, BlockingStore, AsyncStore, BlockingAsyncStore])
def test_a_delivery_is_claimed_then_handled_then_done(
    receive: Receive, make: type[ScriptedStore]
) -> None:
    store = make()
    receiver = Receiver(SECRET, idempotency=store)
    verbs_seen: list[int] = []
    receiver.on("*")(lambda event: verbs_seen.append(len(store.verbs)))

    assert receive(receiver, signed()).status == 200
    key = delivery_key(BODY, None, None)
    assert [(verb[0], verb[1]) for verb in store.verbs] == [("claim", key), ("done", key)]
    assert store.verbs[1][2] == "a-token"
    assert verbs_seen == [1]


@pytest.mark.parametrize(
    ("state", "status", "reason"),
    [(ClaimState.DONE, 200, None), (ClaimState.IN_PROGRESS, 409, Reason.IN_PROGRESS)],
)
def test_what_was_handled_or_is_being_handled_is_not_handled(
    receive: Receive, state: ClaimState, status: int, reason: Reason | None
) -> None:
    store = ScriptedStore(state)
    receiver = Receiver(SECRET, idempotency=store)
    receiver.on("*")(lambda event: pytest.fail("handled again"))

    response = receive(receiver, signed())
    assert (response.status, response.reason) == (status, reason)
    assert len(store.verbs) == 1
    assert ("retry-after" in dict(response.headers)) is (status == 409)


def raising(error: BaseException) -> Callable[[Event], None]:
    def handler(event: Event) -> None:
        raise error

    return handler


@pytest.mark.parametrize(
    ("raised", "status", "verb"),
    [
        (LookupError("no order"), 500, "release"),
        (StorageError("a handler's own"), 500, "release"),
        (RetryLater(7), 503, "release"),
        (Discard("a test order"), 200, "done"),
    ],
)
def test_a_failed_attempt_frees_the_key_at_once(
    receive: Receive, raised: Exception, status: int, verb: str
) -> None:
    store = ScriptedStore()
    receiver = Receiver(SECRET, idempotency=store)
    receiver.on("*")(raising(raised))

    assert receive(receiver, signed()).status == status
    assert [call[0] for call in store.verbs] == ["claim", verb]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_handler_that_ends_the_process_frees_the_key_first(stop: type[BaseException]) -> None:
    store = ScriptedStore()
    receiver = Receiver(SECRET, idempotency=store)
    receiver.on("*")(raising(stop()))

    with pytest.raises(stop):
        receiver.receive(signed())
    assert [call[0] for call in store.verbs] == ["claim", "release"]


@pytest.mark.parametrize(("raised", "verb"), [(None, "done"), (LookupError("no order"), "release")])
def test_what_is_begun_is_finished_although_the_request_is_cancelled(
    raised: Exception | None, verb: str
) -> None:
    """Or its effect would stand, and the next try would make it again."""
    store = ScriptedStore()
    receiver = Receiver(SECRET, idempotency=store)

    async def cancel() -> None:
        is_running, may_end = asyncio.Event(), asyncio.Event()

        @receiver.on("*")
        async def handler(event: Event) -> None:
            is_running.set()
            await may_end.wait()
            if raised is not None:
                raise raised

        task = asyncio.ensure_future(receiver.receive_async(signed()))
        await is_running.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [call[0] for call in store.verbs] == ["claim"]
        may_end.set()
        (begun,) = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.wait([begun])

    asyncio.run(cancel())
    assert [call[0] for call in store.verbs] == ["claim", verb]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_handler_that_raises_as_if_cancelled_has_failed_and_is_released(is_async: bool) -> None:
    store = ScriptedStore()
    receiver = Receiver(SECRET, idempotency=store)

    def fail(event: Event) -> None:
        raise asyncio.CancelledError

    async def fail_async(event: Event) -> None:
        fail(event)

    receiver.on("*")(fail_async if is_async else fail)
    assert asyncio.run(receiver.receive_async(signed())).status == 500
    assert [call[0] for call in store.verbs] == ["claim", "release"]


def test_a_loop_that_ends_leaves_the_claim_to_lapse() -> None:
    """A handler in a thread cannot be stopped, so nobody else may begin yet."""
    store = ScriptedStore()
    receiver = Receiver(SECRET, idempotency=store)

    async def leave() -> None:
        is_running = asyncio.Event()

        @receiver.on("*")
        async def hang(event: Event) -> None:
            is_running.set()
            await asyncio.Event().wait()

        task = asyncio.ensure_future(receiver.receive_async(signed()))
        await is_running.wait()
        task.cancel()

    asyncio.run(leave())
    assert [call[0] for call in store.verbs] == ["claim"]


@pytest.mark.parametrize("error", [StorageError("down"), OSError(), RuntimeError()])
def test_a_store_that_cannot_tell_is_unavailable_and_nothing_is_handled(
    receive: Receive, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = Receiver(SECRET, idempotency=ScriptedStore(claim=error))
    receiver.on("*")(lambda event: pytest.fail("handled without a claim"))

    response = receive(receiver, signed())
    assert (response.status, response.reason) == (503, Reason.UNAVAILABLE)
    assert dict(response.headers)["retry-after"] == "5"
    assert type(error).__name__ in caplog.text


@pytest.mark.parametrize(
    ("verb", "raised", "status"), [("done", None, 200), ("release", LookupError(), 500)]
)
def test_the_answer_tells_what_the_handlers_did_whatever_becomes_of_the_claim(
    receive: Receive,
    verb: str,
    raised: Exception | None,
    status: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken: Any = {verb: StorageError("down")}
    receiver = Receiver(SECRET, idempotency=ScriptedStore(**broken))
    receiver.on("*")(raising(raised) if raised else lambda event: None)

    assert receive(receiver, signed()).status == status
    assert "keeps its claim on delivery" in caplog.text
    assert "StorageError: down" in caplog.text


def test_a_near_duplicate_is_handled_and_told(
    receive: Receive, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    store = ScriptedStore(is_near_duplicate=True)
    receiver = Receiver(SECRET, idempotency=store)
    events: list[Event] = []
    receiver.on("*")(events.append)

    assert receive(receiver, signed()).status == 200
    assert len(events) == 1
    assert "came before, in other bytes" in caplog.text


def test_a_key_of_ones_own_decides(receive: Receive) -> None:
    store = ScriptedStore()
    store.key = lambda event: event.order_number
    receiver = Receiver(SECRET, idempotency=store)

    for body in (BODY, BODY.replace(b"delivered", b"in_transit")):
        assert receive(receiver, signed(body)).status == 200
    keys = {call[1] for call in store.verbs}
    assert len(keys) == 1
    assert BODY.decode().find(keys.pop()) == -1


@pytest.mark.parametrize("key", [lambda event: event.nothing, lambda event: None])
def test_where_a_key_function_fails_the_body_decides(
    receive: Receive, key: Any, caplog: pytest.LogCaptureFixture
) -> None:
    store = ScriptedStore()
    store.key = key
    receiver = Receiver(SECRET, idempotency=store)
    events: list[Event] = []
    receiver.on("*")(events.append)

    assert receive(receiver, signed()).status == 200
    assert len(events) == 1
    assert {call[1] for call in store.verbs} == {delivery_key(BODY, None, None)}
    (record,) = caplog.records
    assert record.getMessage() == (
        "the key function failed (ref 'shipments/delivered/SUCCESSFULLY_DELIVERED'): the digest of"
        " the body is this delivery's key instead"
    )


def test_a_report_of_a_key_function_that_fails_shows_no_body(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Tools that report errors take the local variables of each frame along."""
    store = ScriptedStore()
    store.key = lambda event: event.nothing
    receiver = Receiver(SECRET, idempotency=store)
    receiver.on("*")(lambda event: None)
    headers = signature_header()
    receiver.receive(Request("POST", headers, BODY))

    (record,) = caplog.records
    assert record.exc_info is not None
    error = record.exc_info[1]
    assert isinstance(error, AttributeError)
    report = "".join(
        traceback.TracebackException.from_exception(error, capture_locals=True).format()
    )
    assert "mira.holm" not in report
    assert headers["Karla-Signature"][20:] not in report
    incoming = Incoming(None, None)
    incoming.body, incoming.signature = BODY, ["t=1,v1=00"]
    assert "v1=00" not in repr(incoming)
    assert BODY.decode() not in repr(incoming)


def test_what_is_not_verified_reaches_no_store(receive: Receive) -> None:
    store, inbox = ScriptedStore(), ListInbox()
    receiver = Receiver(SECRET, idempotency=store, inbox=inbox)

    assert receive(receiver, signed(secret="another-secret")).status == 401
    assert (store.verbs, inbox.deliveries) == ([], [])


def test_a_handler_may_ask_for_its_key_but_has_no_transaction(receive: Receive) -> None:
    receiver = Receiver(SECRET, idempotency=ScriptedStore())
    attempts: list[Any] = []

    @receiver.on("*")
    def handler(event: Event) -> None:
        attempts.append(current_attempt())
        with pytest.raises(ConfigurationError, match="only an inbox"):
            _ = current_attempt().transaction

    assert receive(receiver, signed()).status == 200
    assert (attempts[0].key, attempts[0].number) == (delivery_key(BODY, None, None), 1)
    with pytest.raises(ConfigurationError, match="no delivery is being handled"):
        current_attempt()


def test_in_a_pool_of_its_own_a_handler_is_told_how_to_have_its_attempt(
    receive: Receive,
) -> None:
    receiver = Receiver(SECRET, idempotency=ScriptedStore())
    keys: list[str] = []

    @receiver.on("*")
    def handler(event: Event) -> None:
        with ThreadPoolExecutor() as pool:
            with pytest.raises(
                ConfigurationError, match=r"submit contextvars.copy_context\(\).run"
            ):
                pool.submit(current_attempt).result()
            keys.append(pool.submit(copy_context().run, current_attempt).result().key)

    assert receive(receiver, signed()).status == 200
    assert keys == [delivery_key(BODY, None, None)]


# --- the inbox -----------------------------------------------------------------------------------


def test_with_an_inbox_a_delivery_is_kept_and_not_handled(receive: Receive) -> None:
    inbox = ListInbox()
    receiver = Receiver(SECRET, inbox=inbox, clock=lambda: 1_700_000_000)
    receiver.on("*")(lambda event: pytest.fail("handled within the request"))
    header = sign(BODY, SECRET, timestamp=1_700_000_000)
    response = receive(receiver, Request("POST", [(b"karla-signature", header.encode())], BODY))

    assert response.status == 200
    (kept,) = inbox.deliveries
    assert kept == Delivery(
        key=delivery_key(BODY, None, None),
        occurrence=kept.occurrence,
        body=BODY,
        headers=(("karla-signature", header),),
        received_at=1_700_000_000,
        ref="shipments/delivered/SUCCESSFULLY_DELIVERED",
        event_group="shipment_delivered",
    )
    assert "Musterstadt" not in repr(kept)
    assert header[-64:] not in repr(kept)


def test_a_body_in_chunks_is_kept_as_bytes(receive: Receive) -> None:
    inbox = ListInbox()
    request = signed(body=[BODY[:9], BODY[9:]])

    assert receive(Receiver(SECRET, inbox=inbox), request).status == 200
    assert type(inbox.deliveries[0].body) is bytes
    assert inbox.deliveries[0].body == BODY


def test_a_genuine_body_that_is_no_event_is_kept_apart_and_refused(receive: Receive) -> None:
    inbox = ListInbox()
    response = receive(Receiver(SECRET, inbox=inbox), signed(b"{}"))

    assert (response.status, response.reason) == (400, Reason.INVALID_ENVELOPE)
    (kept,) = inbox.deliveries
    assert (kept.body, kept.ref, kept.event_group, kept.occurrence) == (b"{}", None, None, "")
    assert kept.problem is not None
    assert kept.problem.startswith("invalid_envelope")


def test_a_view_beside_an_inbox_is_an_error_for_it_would_never_be_called(receive: Receive) -> None:
    inbox = ListInbox()
    with pytest.raises(ConfigurationError, match="never to a view"):
        receive(Receiver(SECRET, inbox=inbox), signed(BODY), view=print)
    assert inbox.deliveries == []


def test_without_an_inbox_what_is_no_event_is_refused_unclaimed(receive: Receive) -> None:
    store = ScriptedStore()
    response = receive(Receiver(SECRET, idempotency=store), signed(b"{}"))
    assert (response.reason, store.verbs) == (Reason.INVALID_ENVELOPE, [])


@pytest.mark.parametrize("body", [BODY, b"{}"])
def test_what_could_not_be_kept_is_never_acknowledged(receive: Receive, body: bytes) -> None:
    receiver = Receiver(SECRET, inbox=ListInbox(StorageError("disk full")))
    response = receive(receiver, signed(body))
    assert (response.status, response.reason) == (503, Reason.UNAVAILABLE)


def test_with_both_the_claim_comes_before_the_inbox(receive: Receive) -> None:
    store, inbox = ScriptedStore(), ListInbox()
    store.key = occurrence_key
    assert receive(Receiver(SECRET, idempotency=store, inbox=inbox), signed()).status == 200
    assert [call[0] for call in store.verbs] == ["claim", "done"]
    assert inbox.deliveries[0].key == store.verbs[0][1]

    broken = Receiver(SECRET, idempotency=store, inbox=ListInbox(OSError()))
    assert receive(broken, signed()).status == 503
    assert [call[0] for call in store.verbs[2:]] == ["claim", "release"]


@pytest.mark.parametrize("is_told_by_the_store", [True, False])
def test_a_near_duplicate_is_told_once_by_store_or_inbox(
    receive: Receive, is_told_by_the_store: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    store = ScriptedStore(is_near_duplicate=is_told_by_the_store)
    inbox = ListInbox(novelty=Novelty.NEAR_DUPLICATE)
    assert receive(Receiver(SECRET, idempotency=store, inbox=inbox), signed()).status == 200
    assert caplog.text.count("came before, in other bytes") == 1


def test_the_inbox_gets_what_its_worker_needs() -> None:
    inbox, told = ListInbox(), Keeper()
    receiver = Receiver(SECRET, inbox=inbox, observer=told)
    ((handlers, verifier, observer),) = inbox.attached
    assert handlers is receiver.handlers
    assert verifier.verify(BODY, sign(BODY, SECRET)).secret_index == 0
    assert observer is told


def test_a_kept_delivery_verifies_as_at_its_receipt(receive: Receive) -> None:
    inbox = ListInbox()
    receiver = Receiver(SECRET, inbox=inbox)
    receive(receiver, signed())
    kept = inbox.deliveries[0]
    header = parse_header([value for _, value in kept.headers])
    later = Verifier("new-secret", SECRET, clock=lambda: kept.received_at + 10_000)

    verified = later.verify_parsed(kept.body, header, now=kept.received_at)
    assert verified.secret_index == 1
    with pytest.raises(SignatureError):
        Verifier("new-secret").verify_parsed(kept.body, header, now=kept.received_at)


def test_an_inbox_leaves_no_request_for_a_view_to_answer() -> None:
    receiver = Receiver(SECRET, inbox=ListInbox())
    with pytest.raises(ConfigurationError, match=r"register functions with receiver\.on"):
        webhook(receiver)(lambda event: None)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError

    with pytest.raises(ConfigurationError, match="forwarded app"):
        KarlaMiddleware(app, receiver, "/karla", forward=True)
    KarlaMiddleware(app, receiver)


# --- outcomes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raised", "status", "reason", "retry_after"),
    [
        ([RetryLater(7)], 503, Reason.RETRY_LATER, "7"),
        ([RetryLater(0.2)], 503, Reason.RETRY_LATER, "1"),
        ([RetryLater()], 503, Reason.RETRY_LATER, "60"),
        ([RetryLater(7), RetryLater(90), Discard("x")], 503, Reason.RETRY_LATER, "90"),
        ([RetryLater(7), LookupError()], 500, Reason.HANDLER_ERROR, None),
        ([Discard("a test order")], 200, None, None),
        ([Discard("a test order"), LookupError()], 500, Reason.HANDLER_ERROR, None),
    ],
)
def test_the_worst_outcome_of_all_handlers_is_the_answer(
    receive: Receive,
    raised: list[Exception],
    status: int,
    reason: Reason | None,
    retry_after: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    receiver = Receiver(SECRET)
    for each in raised:
        receiver.on("*")(raising(each))

    response = receive(receiver, signed())
    assert (response.status, response.reason) == (status, reason)
    assert dict(response.headers).get("retry-after") == retry_after
    assert ("discarded a delivery" in caplog.text) is (status == 200)


def test_a_view_is_not_called_when_a_handler_wants_a_later_try() -> None:
    receiver = Receiver(SECRET)
    receiver.on("*")(raising(RetryLater(5)))
    response = receiver.receive(signed(), view=lambda event: pytest.fail("called"))
    assert response.reason is Reason.RETRY_LATER


class OddError(Exception):
    def __str__(self) -> str:
        return "\ud800" * 1000


class Untold(Discard):
    def __init__(self) -> None:
        """Leave out what the parent does."""


class Unsaid(RetryLater):
    def __init__(self) -> None:
        """Leave out what the parent does."""


@pytest.mark.parametrize("reason", [None, 5, OddError(), "\udc80", "x" * 1000, b"y"])
def test_whatever_a_handler_gives_as_its_reason_is_told(receive: Receive, reason: Any) -> None:
    for outcome, status in ((Discard(reason), 200), (RetryLater(5, reason), 503)):
        receiver = Receiver(SECRET)
        receiver.on("*")(raising(outcome))
        assert receive(receiver, signed()).status == status
        assert len(outcome.reason.encode()) <= 200


def test_outcomes_of_ones_own_have_what_they_do_not_set(receive: Receive) -> None:
    for outcome, status in ((Untold(), 200), (Unsaid(), 503)):
        receiver = Receiver(SECRET)
        receiver.on("*")(raising(outcome))
        assert receive(receiver, signed()).status == status


def test_handle_raises_what_a_worker_must_know() -> None:
    receiver = Receiver(SECRET)
    outcome: list[Exception] = []

    @receiver.on("*")
    async def handler(event: object) -> None:
        if outcome:
            raise outcome[0]

    event = parse_event(BODY)
    receiver.handlers.handle(event)
    for raised in (RetryLater(1), Discard("x")):
        outcome[:] = [raised]
        with pytest.raises(type(raised)):
            receiver.handlers.handle(event)
    outcome[:] = [LookupError()]
    with pytest.raises(DeliveryError) as refusal:
        receiver.handlers.handle(event)
    assert refusal.value.reason is Reason.HANDLER_ERROR


@pytest.mark.parametrize("after", [-1, 86_401, float("nan"), True, "60", None, 10**400])
def test_a_wait_that_is_none_is_refused(after: Any) -> None:
    with pytest.raises(ConfigurationError, match="RetryLater takes seconds"):
        RetryLater(after)


# --- set-up --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"idempotency": "karla.db"}, "not str"),
        ({"idempotency": ScriptedStore}, "not the class ScriptedStore"),
        ({"idempotency": ListInbox()}, "idempotency must be a store"),
        ({"idempotency": {}}, "SQLiteStore('karla.db')"),
        ({"inbox": "karla.db"}, "SQLiteInbox('karla.db'), not str"),
        ({"inbox": ListInbox}, "not the class ListInbox"),
        ({"inbox": ScriptedStore()}, "inbox must be an inbox"),
    ],
)
def test_what_is_no_store_and_no_inbox_is_refused(options: Any, remedy: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        Receiver(SECRET, **options)
    assert remedy in str(refusal.value)


def keepers(path: Path, window: float) -> dict[str, Any]:
    return {
        "memory": {"idempotency": MemoryStore(window=window)},
        "sqlite": {"idempotency": SQLiteStore(path, window=window)},
        "redis": {"idempotency": RedisStore("redis://localhost", window=window)},
        "inbox": {"inbox": SQLiteInbox(path, window=window)},
    }


@pytest.mark.parametrize("kind", ["memory", "sqlite", "redis", "inbox"])
def test_what_is_remembered_must_outlive_a_captured_delivery(kind: str, tmp_path: Path) -> None:
    options = keepers(tmp_path / "karla.db", window=1199)[kind]
    with pytest.raises(ConfigurationError, match="after 1199 s what can be sent again for 1200 s"):
        Receiver(SECRET, tolerance=600, **options)
    Receiver(SECRET, tolerance=600, **keepers(tmp_path / "karla.db", window=1200)[kind])


@pytest.mark.parametrize("window", [None, "a week"])
def test_a_store_of_ones_own_need_not_say_how_long_it_remembers(window: Any) -> None:
    store: Any = ScriptedStore()
    store.window = window
    Receiver(SECRET, tolerance=86_400, idempotency=store)
    Receiver(SECRET, tolerance=86_400, idempotency=ScriptedStore(), inbox=ListInbox())
