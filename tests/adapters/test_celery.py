"""The Celery inbox over a broker in memory: what becomes of a delivery, step by step."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import socket
import threading
import time
from base64 import b64encode
from collections.abc import Generator
from typing import Any, cast

import pytest
from celery import Celery
from celery.exceptions import Reject
from kombu import Queue
from msgspec.structs import replace

from karla_receiver import (
    ConfigurationError,
    Event,
    Reason,
    Receiver,
    Request,
    parse_event,
    sign,
)
from karla_receiver.adapters.celery import CeleryInbox
from karla_receiver.delivery import Delivery
from karla_receiver.errors import StorageError
from karla_receiver.idempotency import Claim, ClaimState, MemoryStore, occurrence_key
from karla_receiver.idempotency.keys import delivery_key
from karla_receiver.inbox.backoff import Backoff
from karla_receiver.outcomes import Discard, RetryLater, current_attempt
from tests.observed import Keeper
from tests.ports import reserved_port
from tests.signing import BODY, SECRET, signature_header, signed
from tests.waiting import PATIENCE_SECONDS

_names = itertools.count()


class Shop:
    """A receiver with a Celery inbox, and a worker that does one task when it is told to."""

    def __init__(self, **options: Any) -> None:
        self.name = f"karla-{next(_names)}"
        self.app = Celery("shop", broker="memory://", set_as_current=False)
        # A broker in memory confirms when the machine gets to it.
        options.setdefault("timeout", PATIENCE_SECONDS)
        self.inbox = CeleryInbox(self.app, queue=self.name, **options)
        self.keeper = Keeper()
        self.receiver = Receiver(SECRET, inbox=self.inbox, observer=self.keeper)
        self.events: list[Event] = []
        self.receiver.on("*")(self.handle)
        self.raises: list[BaseException] = []
        self.attempts: list[tuple[str, int]] = []

    def handle(self, event: Event) -> None:
        attempt = current_attempt()
        self.attempts.append((attempt.key, attempt.number))
        if self.raises:
            raise self.raises.pop(0)
        self.events.append(event)

    def receive(self, body: bytes = BODY, secret: str = SECRET) -> int:
        header = signature_header(body, secret)
        return self.receiver.receive(Request("POST", header, body)).status

    def messages(self, suffix: str = "") -> list[Any]:
        """Take all messages out of a queue."""
        found: list[Any] = []
        with cast("Any", self.app).connection_for_write() as connection:
            queue: Any = Queue(self.name + suffix)(connection.default_channel)
            queue.declare()
            while (message := queue.get()) is not None:
                message.ack()
                found.append(message)
        return found

    def failures(self) -> list[str]:
        """Take what was given up out of its queue; return why it was."""
        return [message.payload[0][0]["failure"] for message in self.messages(".failed")]

    def work(self) -> list[float]:
        """Do every task that is there now; return in how many seconds each was to be done."""
        waits: list[float] = []
        for message in self.messages():
            eta = message.headers["eta"]
            waits.append(message.payload[0][0]["not_before"] - time.time() if eta else 0)
            self.task(*message.payload[0])
        return waits

    @property
    def task(self) -> Any:
        return self.app.tasks[f"karla_receiver.{self.name}"]


@pytest.fixture
def shop() -> Generator[Shop]:
    made = Shop(max_attempts=3)
    yield made
    made.inbox.close()


@pytest.fixture
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("karla_receiver.adapters.celery._BACKOFF", Backoff(first=0))
    monkeypatch.setattr("karla_receiver.adapters.celery._SHORT_WAIT", 0)
    monkeypatch.setattr("karla_receiver.adapters.celery._PAUSE", 0)


def delivery(body: bytes = BODY, **changes: Any) -> Delivery:
    usual: dict[str, Any] = {
        "key": "k" * 64,
        "occurrence": "o",
        "headers": (("karla-signature", sign(body, SECRET)),),
        "received_at": time.time(),
    }
    return Delivery(body=body, **(usual | changes))


# --- there and back ------------------------------------------------------------------------------


def test_a_delivery_is_acknowledged_first_and_handled_by_a_worker(shop: Shop) -> None:
    assert shop.receive() == 200
    assert not shop.events
    shop.work()

    (event,) = shop.events
    assert event.order_number == "NT-20417"
    ((key, number),) = shop.attempts
    assert len(key) == 64
    assert number == 1
    assert shop.messages() == []


def test_it_is_published_from_an_event_loop_too(shop: Shop) -> None:
    request = signed()

    assert asyncio.run(shop.receiver.receive_async(request)).status == 200
    shop.work()
    assert len(shop.events) == 1


def test_what_is_not_genuine_reaches_no_broker(shop: Shop) -> None:
    assert shop.receive(secret="another-secret-16") == 401
    assert shop.messages() == []


def test_what_is_genuine_but_no_event_is_kept_apart_with_its_bytes(shop: Shop) -> None:
    assert shop.receive(b"\xff\x00 not JSON") == 400
    shop.work()

    (message,) = shop.messages(".failed")
    content = message.payload[0][0]
    assert content["delivery"]["body"] == "/wAgbm90IEpTT04="
    assert content["failure"].startswith("invalid_json")


def test_a_task_shows_monitors_neither_body_nor_signature(shop: Shop) -> None:
    shop.receive()
    (message,) = shop.messages()

    assert message.properties["delivery_mode"] == 2
    shown = json.dumps(message.headers)
    assert b64encode(BODY).decode()[:20] not in shown
    assert "v1=" not in shown
    assert message.headers["argsrepr"].startswith("(<Delivery")
    assert "shipments/delivered/SUCCESSFULLY_DELIVERED" in shown


# --- what a worker is given is not trusted -------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"body": BODY + b" "}, Reason.SIGNATURE_MISMATCH),
        ({"headers": ()}, Reason.MISSING_SIGNATURE),
        ({"received_at": 1e12}, Reason.TIMESTAMP_TOO_OLD),
    ],
)
def test_what_does_not_verify_again_is_kept_and_never_handled(
    shop: Shop, changes: dict[str, Any], reason: Reason
) -> None:
    shop.inbox.put(replace(delivery(), **changes))
    shop.work()

    assert not shop.events
    assert [failure.partition(":")[0] for failure in shop.failures()] == [reason]
    assert shop.keeper.attempts() == [(reason, True, False)]


@pytest.mark.parametrize("key", [None, occurrence_key])
def test_a_delivery_under_other_keys_is_the_same_one(key: Any) -> None:
    shop = Shop(idempotency=MemoryStore(key=key))
    shop.receive()
    for name in ("a", "b", "c"):
        shop.inbox.put(delivery(key=name, occurrence=name))
    shop.work()
    shop.inbox.close()

    assert len(shop.events) == 1


def test_a_key_function_that_raises_in_a_worker_costs_no_delivery() -> None:
    def key(event: Event) -> str:
        raise LookupError("canary")

    shop = Shop(idempotency=MemoryStore(key=key))
    for name in ("a", "b"):
        shop.inbox.put(delivery(key=name))
    shop.work()
    shop.inbox.close()

    assert shop.attempts == [(delivery_key(BODY, None, None), 1)]
    assert len(shop.events) == 1


def test_it_is_verified_as_at_its_receipt(shop: Shop) -> None:
    header = (("karla-signature", sign(BODY, SECRET, timestamp=1_700_000_000)),)
    shop.inbox.put(delivery(headers=header, received_at=1_700_000_100))
    shop.work()

    assert len(shop.events) == 1


def test_a_body_that_is_no_event_any_more_is_kept(shop: Shop) -> None:
    shop.inbox.put(delivery(b"[]"))
    shop.work()

    assert [failure.partition(":")[0] for failure in shop.failures()] == [Reason.INVALID_ENVELOPE]


@pytest.mark.parametrize("content", [None, {}, {"delivery": {"body": "not base64"}}, "text"])
def test_what_is_no_delivery_at_all_is_rejected(shop: Shop, content: Any) -> None:
    with pytest.raises(Reject) as caught:
        shop.task(content)
    assert not cast("Any", caught.value).requeue


# --- outcomes ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_no_waits")
def test_a_delivery_whose_handlers_fail_is_tried_again_then_kept_then_requeued(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    shop.raises = [ValueError("no stock") for _ in range(3)]
    shop.receive()
    for _ in range(4):
        shop.work()

    assert [number for _, number in shop.attempts] == [1, 2, 3]
    assert not shop.events
    levels = [record.levelname for record in caplog.records]
    assert levels == ["WARNING", "WARNING", "ERROR"]
    assert all(record.exc_info and "no stock" in str(record.exc_info) for record in caplog.records)

    assert shop.inbox.requeue_failed() == 1
    assert shop.inbox.requeue_failed() == 0
    shop.work()
    assert len(shop.events) == 1
    assert shop.attempts[-1][1] == 1


def test_what_was_given_up_stays_until_it_is_asked_for(shop: Shop) -> None:
    for number in range(3):
        shop.inbox.put(delivery(key=str(number), problem="broken"))

    assert shop.inbox.requeue_failed(limit=2) == 2
    assert [message.payload[0][0]["delivery"]["key"] for message in shop.messages()] == ["0", "1"]
    assert shop.failures() == ["broken"]


def publish(shop: Shop, body: object, **options: Any) -> None:
    """Put a message into the queue of what was given up, as anybody at the broker can."""
    with cast("Any", shop.app).connection_for_write() as connection:
        queue: Any = Queue(f"{shop.name}.failed")(connection.default_channel)
        queue.declare()
        producer = connection.Producer()
        producer.publish(body, routing_key=queue.name, **options)


@pytest.mark.parametrize("limit", [None, 2])
def test_messages_that_are_not_deliveries_are_passed_over_and_reported(
    shop: Shop, caplog: pytest.LogCaptureFixture, limit: int | None
) -> None:
    publish(shop, "a stray")
    publish(shop, [[{"delivery": 5}], {}, {}])
    shop.inbox.put(delivery(key="first", problem="broken"))
    publish(shop, "\x80\x04]\x94.", content_type="application/x-python-serialize")
    publish(shop, "{", content_type="application/json")
    shop.inbox.put(delivery(key="second", problem="broken"))

    assert shop.inbox.requeue_failed(limit) == 2
    moved = [message.payload[0][0]["delivery"]["key"] for message in shop.messages()]
    assert moved == ["first", "second"]
    assert f"4 messages in {shop.name}.failed are not deliveries" in caplog.text
    assert len(shop.messages(".failed")) == 4


@pytest.mark.parametrize("attempt", [10**9, -(10**9)])
def test_an_absurd_count_of_attempts_costs_a_worker_nothing(attempt: int) -> None:
    shop = Shop(max_attempts=10**10)
    shop.raises = [ValueError()]
    shop.task({"delivery": delivery_content(shop), "attempt": attempt})
    (message,) = shop.messages()
    shop.inbox.close()
    assert message.payload[0][0]["not_before"] - time.time() <= 900


def test_two_operators_do_not_get_in_each_others_way(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.inbox.put(delivery(problem="broken"))
    declare = cast("Any", Queue).queue_declare

    def declare_and_lose(*arguments: Any, **options: Any) -> Any:
        """Say how many there are, and have another operator take them."""
        monkeypatch.undo()
        answer = declare(*arguments, **options)
        assert shop.failures() == ["broken"]
        return answer

    shop.inbox.put(delivery())  # a producer that has declared what it needs
    monkeypatch.setattr(Queue, "queue_declare", declare_and_lose)
    assert shop.inbox.requeue_failed() == 0


def test_the_waits_between_attempts_grow(shop: Shop) -> None:
    shop = Shop(max_attempts=8)
    bounds = [10 * 2**n for n in range(7)]
    for attempt, longest in enumerate(bounds, 1):
        shop.raises = [ValueError()]
        content = {"delivery": delivery_content(shop), "attempt": attempt}
        shop.task(content)
        (message,) = shop.messages()
        wait = message.payload[0][0]["not_before"] - time.time()
        assert min(longest, 900) / 2 - 2 <= wait <= min(longest, 900)
    shop.inbox.close()


def delivery_content(shop: Shop) -> Any:
    shop.receive()
    (message,) = shop.messages()
    return message.payload[0][0]["delivery"]


def test_a_handler_says_how_long_to_wait(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    shop.raises = [RetryLater(after=600, reason="of Mira")]
    shop.receive()
    shop.work()

    (message,) = shop.messages()
    content = message.payload[0][0]
    assert content["attempt"] == 2
    assert 590 < content["not_before"] - time.time() <= 600
    assert message.headers["eta"]
    assert "attempt 1 of 3 failed, the next is in 600 s: 'of Mira'" in caplog.text


def test_a_long_wait_is_done_in_several(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    send = shop.task.apply_async

    def apply_async(**options: Any) -> Any:
        waits.append(options["countdown"])
        return send(**options)

    monkeypatch.setattr(shop.task, "apply_async", apply_async)
    shop.raises = [RetryLater(after=86_400)]
    shop.receive()
    shop.work()
    shop.work()  # early: it is sent on, and no handler is called

    assert waits == [None, 900, 900]
    assert [number for _, number in shop.attempts] == [1]
    (message,) = shop.messages()
    assert message.payload[0][0]["attempt"] == 2


@pytest.mark.usefixtures("_no_waits")
def test_asking_for_later_uses_up_attempts_too(shop: Shop) -> None:
    shop.raises = [RetryLater(after=0) for _ in range(3)]
    shop.receive()
    for _ in range(4):
        shop.work()

    assert [number for _, number in shop.attempts] == [1, 2, 3]
    assert len(shop.failures()) == 1


def test_a_discarded_delivery_is_done(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    shop.raises = [Discard("a test order")]
    shop.receive()
    shop.work()

    assert shop.messages() == shop.messages(".failed") == []
    assert "discarded a delivery" in caplog.text


def test_an_event_that_does_not_fit_is_kept_at_once(shop: Shop) -> None:
    shop.receiver.on("shipments")(lambda event: None)
    shop.receive(b'{"event_group":"x","source":"shipments","ref":"shipments/delivered/X"}')
    shop.work()

    assert [failure.partition(":")[0] for failure in shop.failures()] == [Reason.UNDECODABLE_EVENT]
    assert shop.keeper.attempts() == [(Reason.UNDECODABLE_EVENT, True, False)]
    assert not shop.attempts


def test_a_delivery_that_kills_its_workers_is_given_up(shop: Shop) -> None:
    shop.receive()
    for _ in range(10):
        (message,) = shop.messages()
        shop.task.push_request(delivery_info={"redelivered": True})
        shop.task(*message.payload[0])
        shop.task.pop_request()
        assert not shop.attempts
        assert not shop.failures()
    (message,) = shop.messages()
    shop.task.push_request(delivery_info={"redelivered": True})
    shop.task(*message.payload[0])
    shop.task.pop_request()

    assert shop.messages() == []
    assert shop.failures() == ["10 workers were gone before they were done with it"]
    assert shop.keeper.attempts() == [("handler_error", True, False)]


@pytest.mark.parametrize(
    ("errors", "told"),
    [
        ([], [("handled", False, True)]),
        ([Discard("of no concern")], [("discarded", False, True)]),
        (
            [OSError(), RetryLater(0)],
            [
                ("handler_error", False, True),
                ("retry_later", False, True),
                ("handled", False, True),
            ],
        ),
        ([OSError()] * 3, [("handler_error", n == 2, True) for n in range(3)]),
        ([RetryLater(0)] * 3, [("retry_later", n == 2, True) for n in range(3)]),
    ],
)
@pytest.mark.usefixtures("_no_waits")
def test_an_observer_is_told_of_each_attempt(
    shop: Shop, errors: list[BaseException], told: list[tuple[str, bool, bool]]
) -> None:
    shop.raises = [*errors]
    shop.receive()
    for _ in range(3):
        shop.work()
    assert shop.keeper.attempts() == told


def test_a_delivery_whose_worker_died_is_handled_by_the_next(shop: Shop) -> None:
    shop.receive()
    (message,) = shop.messages()
    shop.task.push_request(delivery_info={"redelivered": True})
    shop.task(*message.payload[0])
    shop.task.pop_request()
    shop.work()

    assert [number for _, number in shop.attempts] == [1]


@pytest.mark.usefixtures("_no_waits")
def test_a_message_that_cannot_be_sent_on_goes_back_to_the_broker(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shop.receive()
    (message,) = shop.messages()

    def fail(**options: Any) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr(shop.task, "apply_async", fail)
    shop.raises = [ValueError()]
    with pytest.raises(Reject) as caught:
        shop.task(*message.payload[0])
    assert cast("Any", caught.value).requeue
    assert "goes back to the broker" in caplog.text


@pytest.mark.parametrize(
    "changes", [{"headers": ()}, {"returns": 10}], ids=["not genuine", "kills its workers"]
)
@pytest.mark.usefixtures("_no_waits")
def test_only_what_has_been_kept_is_told_as_parked(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    shop.inbox.put(replace(delivery(), headers=changes.get("headers", delivery().headers)))
    (message,) = shop.messages()
    content = message.payload[0][0] | {"returns": changes.get("returns", 0)}

    def do_it() -> None:
        shop.task.push_request(delivery_info={"redelivered": "returns" in changes})
        try:
            shop.task(content)
        finally:
            shop.task.pop_request()

    def fail(**options: Any) -> None:
        raise ConnectionRefusedError

    with monkeypatch.context() as patch:
        patch.setattr(shop.task, "apply_async", fail)
        with pytest.raises(Reject):
            do_it()
    assert shop.keeper.attempts() == []
    do_it()
    assert [parked for _, parked, _ in shop.keeper.attempts()] == [True]


# --- once ----------------------------------------------------------------------------------------


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(key=occurrence_key)


def test_with_a_store_a_delivery_that_comes_twice_is_handled_once(store: MemoryStore) -> None:
    shop = Shop(idempotency=store)
    for _ in range(3):
        assert shop.receive() == 200
    shop.work()

    assert shop.inbox.key is occurrence_key
    assert len(shop.events) == 1
    assert shop.messages() == shop.messages(".failed") == []
    shop.inbox.close()


def test_receiver_and_inbox_may_share_a_store(store: MemoryStore) -> None:
    shop = Shop(idempotency=store)
    inbox = CeleryInbox(shop.app, queue=f"{shop.name}-2", idempotency=store)
    shared = Receiver(SECRET, idempotency=store, inbox=inbox)
    events: list[Event] = []
    shared.on("*")(events.append)
    request = signed()
    for _ in range(3):
        assert shared.receive(request).status == 200
    shop.name += "-2"

    assert len(shop.work()) == 1
    assert len(events) == 1
    inbox.close()


@pytest.mark.usefixtures("_no_waits")
def test_a_failed_attempt_frees_the_key_for_the_next(store: MemoryStore) -> None:
    shop = Shop(idempotency=store)
    shop.raises = [ValueError()]
    shop.receive()
    shop.work()
    shop.work()

    assert len(shop.events) == 1
    shop.inbox.close()


def test_while_another_worker_has_it_a_delivery_waits_and_no_attempt_counts(
    store: MemoryStore,
) -> None:
    shop = Shop(idempotency=store)
    shop.inbox.put(delivery())
    shop.inbox.put(delivery())
    shop.raises = [SystemExit()]
    first, second = shop.messages()
    name = f"handled:{delivery_key(BODY, parse_event(BODY), occurrence_key)}"
    held = store.claim(name, "o")
    shop.task(*first.payload[0])

    (waiting,) = shop.messages()
    assert waiting.payload[0][0]["attempt"] == 1
    assert 5 < waiting.payload[0][0]["not_before"] - time.time() <= 10
    assert not shop.attempts

    store.release(name, held.token)
    with pytest.raises(SystemExit):  # the process is told to end: Celery hands it out again
        shop.task(*second.payload[0])
    shop.task(*second.payload[0])
    assert len(shop.events) == 1
    shop.inbox.close()


class BrokenStore:
    key = None
    blocks = True

    def __init__(self, *broken: str) -> None:
        self._broken = broken

    def _use(self, verb: str) -> Claim:
        if verb in self._broken:
            raise StorageError("Redis: ConnectionError")
        return Claim(ClaimState.CLAIMED, "1")

    def claim(self, key: str, occurrence: str) -> Claim:
        return self._use("claim")

    def done(self, key: str, token: str) -> None:
        self._use("done")

    def release(self, key: str, token: str) -> None:
        self._use("release")


def test_without_its_store_a_worker_handles_nothing_and_loses_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shop = Shop(idempotency=BrokenStore("claim"))
    shop.receive()
    shop.work()

    assert not shop.events
    assert "waits for the idempotency store" in caplog.text
    assert [message.payload[0][0]["attempt"] for message in shop.messages()] == [1]
    shop.inbox.close()


@pytest.mark.parametrize("error", [None, ValueError()])
def test_a_claim_that_cannot_be_settled_changes_no_outcome(
    error: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    shop = Shop(idempotency=BrokenStore("done", "release"))
    shop.raises = [error] if error else []
    shop.receive()
    shop.work()

    assert len(shop.messages()) == (1 if error else 0)
    assert len(shop.events) == (0 if error else 1)
    assert "keeps its claim" in caplog.text
    shop.inbox.close()


# --- a broker that is not there ------------------------------------------------------------------


@pytest.fixture(params=["amqp", "redis"])
def silent(request: pytest.FixtureRequest) -> Generator[CeleryInbox]:
    """An inbox whose broker takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        broker = f"{request.param}://127.0.0.1:{listener.getsockname()[1]}//"
        inbox = CeleryInbox(Celery(broker=broker, set_as_current=False), publishers=2, timeout=0.5)
        Receiver(SECRET, inbox=inbox)
        yield inbox


@pytest.mark.slow
def test_a_silent_broker_is_a_storage_error_soon_however_many_ask(silent: CeleryInbox) -> None:
    errors: list[StorageError] = []

    def put() -> None:
        with pytest.raises(StorageError, match="did not confirm") as caught:
            silent.put(delivery())
        errors.append(caught.value)

    # One after the other, they would take the two publishers half a minute.
    start = time.monotonic()
    threads = [threading.Thread(target=put) for _ in range(120)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 120
    assert time.monotonic() - start < 15
    silent.close()


@pytest.mark.slow
def test_an_event_loop_goes_on_while_a_broker_is_silent(silent: CeleryInbox) -> None:
    turns = 0

    async def put() -> None:
        nonlocal turns
        waiting = asyncio.ensure_future(silent.put_async(delivery()))
        while not waiting.done():
            turns += 1
            await asyncio.sleep(0)
        with pytest.raises(StorageError):
            waiting.result()

    asyncio.run(put())
    assert turns > 50
    silent.close()


@pytest.fixture
def unused_port() -> Generator[int]:
    with reserved_port() as port:
        yield port


def test_an_application_that_publishes_nothing_is_refused(shop: Shop) -> None:
    eager = Celery(broker="memory://", set_as_current=False, task_always_eager=True)
    with pytest.raises(ConfigurationError, match="with task_always_eager nothing is published"):
        CeleryInbox(eager)

    shop.app.conf.task_always_eager = True
    with pytest.raises(StorageError, match="with task_always_eager nothing is published"):
        shop.inbox.put(delivery())
    assert not shop.events


@pytest.mark.parametrize("scheme", ["amqp", "redis"])
def test_without_a_broker_the_answer_is_503(scheme: str, unused_port: int) -> None:
    broker = f"{scheme}://127.0.0.1:{unused_port}//"
    inbox = CeleryInbox(Celery(broker=broker, set_as_current=False))
    receiver = Receiver(SECRET, inbox=inbox)
    with pytest.raises(StorageError, match=r"OperationalError|TimeoutError"):
        inbox.put(delivery())
    start = time.monotonic()
    response = receiver.receive(signed())

    assert response.status == 503
    assert time.monotonic() - start < 10  # seconds of the time-out and of a busy machine
    with pytest.raises(StorageError):
        inbox.requeue_failed()
    inbox.close()
    inbox.close()  # again is no error


# --- set-up --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"app": "shop"}, "app is a Celery application, not str"),
        ({"queue": ""}, "queue is the name"),
        ({"queue": None}, "queue is the name"),
        ({"max_attempts": 0}, "max_attempts is a whole number"),
        ({"max_attempts": True}, "max_attempts is a whole number"),
        ({"publishers": 1.5}, "publishers is a whole number"),
        ({"timeout": 0}, "timeout is a number"),
        ({"timeout": float("nan")}, "timeout is a number"),
        ({"timeout": True}, "timeout is a number"),
        ({"timeout": "1"}, "timeout is a number"),
    ],
)
def test_an_option_that_cannot_work_is_refused(options: dict[str, Any], message: str) -> None:
    usual: dict[str, Any] = {"app": Celery(set_as_current=False)}

    with pytest.raises(ConfigurationError, match=message):
        CeleryInbox(**(usual | options))


def test_a_queue_is_for_one_receiver(shop: Shop) -> None:
    for inbox in (shop.inbox, CeleryInbox(shop.app, queue=shop.name)):
        with pytest.raises(ConfigurationError, match="has a receiver already"):
            Receiver(SECRET, inbox=inbox)


def test_a_worker_has_no_transaction_to_hand_out(shop: Shop) -> None:
    refused: list[ConfigurationError] = []

    @shop.receiver.on("*")
    def ask(event: Event) -> None:
        with pytest.raises(ConfigurationError) as caught:
            print(current_attempt().transaction)  # noqa: T201 - asked for
        refused.append(caught.value)

    shop.receive()
    shop.work()
    assert len(refused) == 1
