"""What decorated views do alike, in every framework."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from functools import wraps
from importlib import import_module
from types import TracebackType
from typing import Any

import pytest

from karla_receiver import (
    ConfigurationError,
    Event,
    Reason,
    Receiver,
    ShipmentEvent,
    sign,
)
from karla_receiver.idempotency import MemoryStore
from karla_receiver.idempotency.protocol import Claim, ClaimState
from karla_receiver.outcomes import RetryLater
from tests.doors import Answer, Knock, signed_knock
from tests.frameworks.chosen import FRAMEWORKS
from tests.frameworks.contract import STREAM, Behaviour, Shop
from tests.observed import Keeper
from tests.signing import BODY, SECRET

SHOPS: dict[str, Shop] = {name: each.shop for name, each in FRAMEWORKS.items()}
WITH_ABORT = [name for name, each in FRAMEWORKS.items() if each.abort is not None]
WITH_LATE_STREAMS = [name for name in WITH_ABORT if not FRAMEWORKS[name].runs_streams]
WITH_WEBHOOK = [name for name, each in FRAMEWORKS.items() if each.has_webhook]
IN_EVERY_SHOP = pytest.mark.parametrize("shop", SHOPS.values(), ids=SHOPS)
SYNC_AND_ASYNC = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


def deliver(
    shop: Shop, behaviour: Behaviour, *secrets: Any, is_async: bool = True, knock: Any = None
) -> Answer:
    return shop(behaviour, secrets or (SECRET,), is_async, knock or signed_knock())


@IN_EVERY_SHOP
@SYNC_AND_ASYNC
def test_a_view_that_returns_nothing_acknowledges(shop: Shop, is_async: bool) -> None:
    seen: list[tuple[Event, bytes]] = []
    answer = deliver(shop, lambda *given: seen.append(given), is_async=is_async)

    assert (answer.status, json.loads(answer.body)) == (200, {"status": "success"})
    assert answer.headers["Content-Type"] == "application/json"
    ((event, body),) = seen
    assert isinstance(event, ShipmentEvent)
    assert body == BODY, "a view may read the body that was verified"


PIECES = 20_000


def pieces() -> Iterator[dict[str, Any]]:
    for left in reversed(range(PIECES)):
        # bytes(bytearray()): each is an object of its own, as what comes from a socket is.
        yield {"type": "http.request", "body": bytes(bytearray(b"ab")), "more_body": left > 0}


@pytest.mark.slow
@IN_EVERY_SHOP
def test_a_body_in_countless_messages_is_kept_once(shop: Shop) -> None:
    body = b"ab" * PIECES
    headers = [("Karla-Signature", sign(body, SECRET)), ("Content-Length", str(len(body)))]
    assert deliver(shop, lambda event, body: None).status == 200, "all is imported"
    tracemalloc.start()
    try:
        knock = Knock(headers=headers, body=body, messages=pieces(), read_at_most=2)
        answer = deliver(shop, lambda event, body: None, knock=knock)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert answer.status == 400, "genuine, and not JSON"
    assert peak < 12 * len(body), "in a list of its own, each piece takes 22 times what it holds"


@IN_EVERY_SHOP
@SYNC_AND_ASYNC
def test_anything_else_that_a_view_returns_is_its_response(shop: Shop, is_async: bool) -> None:
    answer = deliver(shop, lambda event, body: 202, is_async=is_async)
    assert (answer.status, answer.body, answer.reason) == (202, b"own", None)


@IN_EVERY_SHOP
@SYNC_AND_ASYNC
def test_an_error_in_the_view_is_500_and_logged_but_not_shown(
    shop: Shop, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    answer = deliver(shop, lambda event, body: LookupError("canary"), is_async=is_async)

    assert (answer.status, answer.reason) == (500, "handler_error")
    assert json.loads(answer.body)["reason"] == "handler_error"
    assert "LookupError: canary" in caplog.text


@pytest.mark.parametrize("name", WITH_ABORT)
@SYNC_AND_ASYNC
def test_what_the_framework_answers_for_an_exception_is_the_answer(
    name: str, is_async: bool
) -> None:
    answer = deliver(SHOPS[name], lambda event, body: FRAMEWORKS[name].abort, is_async=is_async)

    assert answer.status == 404
    assert b"handler_error" not in answer.body


@IN_EVERY_SHOP
def test_a_view_can_ask_for_a_later_try(shop: Shop) -> None:
    answer = deliver(shop, lambda event, body: RetryLater(after=7))
    assert (answer.status, answer.headers["Retry-After"]) == (503, "7")


class Store:
    """Remembers what it was told."""

    key = None
    blocks = False

    def __init__(self) -> None:
        self.told: list[str] = []

    def claim(self, key: str, occurrence: str) -> Claim:
        return Claim(ClaimState.CLAIMED, "token")

    def done(self, key: str, token: str) -> None:
        self.told.append("done")

    def release(self, key: str, token: str) -> None:
        self.told.append("release")


@pytest.mark.parametrize("name", SHOPS)
@SYNC_AND_ASYNC
def test_only_success_counts_as_handled(name: str, is_async: bool) -> None:
    store = Store()
    receiver = Receiver(SECRET, idempotency=store)
    results: list[Any] = [None, 202, 500, 404, ValueError(), FRAMEWORKS[name].abort or KeyError()]
    for result in results:
        deliver(SHOPS[name], lambda *_, result=result: result, receiver, is_async=is_async)

    assert store.told == ["done", "done", "release", "release", "release", "release"]


@pytest.mark.parametrize("name", SHOPS)
@SYNC_AND_ASYNC
def test_an_observer_and_the_log_are_told_what_the_sender_gets(
    name: str, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    keeper = Keeper()
    receiver = Receiver(SECRET, observer=keeper)
    results: list[Any] = [None, 202, 302, 429, ValueError(), FRAMEWORKS[name].abort or 404]
    answers = [
        deliver(SHOPS[name], lambda *_, result=result: result, receiver, is_async=is_async)
        for result in results
    ]

    assert [seen.status for seen in keeper.told] == [answer.status for answer in answers]
    assert [seen.reason for seen in keeper.told] == [None, None, *[Reason.HANDLER_ERROR] * 4]
    lines = [record for record in caplog.records if record.name == "karla_receiver"]
    logged = [vars(line).get("status") for line in lines]
    assert logged == [answer.status for answer in answers[2:]]


if WITH_LATE_STREAMS:  # a test without parameters would count as skipped

    @pytest.mark.parametrize("name", WITH_LATE_STREAMS)
    @SYNC_AND_ASYNC
    def test_a_stream_is_refused_for_its_code_would_run_too_late(
        name: str, is_async: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        receiver = Receiver(SECRET, idempotency=MemoryStore())
        for _ in range(2):
            answer = deliver(SHOPS[name], lambda *_: STREAM, receiver, is_async=is_async)
            assert (answer.status, answer.reason) == (500, "handler_error")
        assert "the view answered with a stream" in caplog.text


@IN_EVERY_SHOP
def test_a_refusal_is_answered_without_calling_the_view(shop: Shop) -> None:
    seen: list[Any] = []
    answer = deliver(shop, lambda *given: seen.append(given), "another-secret")

    assert answer.status == 401
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert not seen


@IN_EVERY_SHOP
def test_several_secrets_or_a_receiver_with_handlers_may_be_given(shop: Shop) -> None:
    receiver = Receiver(SECRET)
    events: list[Event] = []
    receiver.on("shipments")(events.append)

    def note(event: Event, body: bytes) -> None:
        events.append(event)

    assert deliver(shop, note, "new-secret", SECRET).status == 200
    assert deliver(shop, note, receiver).status == 200
    assert len(events) == 3
    assert receiver.enabled_events == ["*"]


@pytest.mark.parametrize("name", WITH_WEBHOOK)
def test_a_decorator_that_can_never_work_is_an_error_where_it_stands(name: str) -> None:
    webhook = import_module(f"karla_receiver.adapters.{name}").webhook

    with pytest.raises(ConfigurationError, match=r"write .*@webhook\(secret\)"):
        webhook(print)
    with pytest.raises(ConfigurationError, match="not both"):
        webhook(SECRET, Receiver(SECRET))
    with pytest.raises(ConfigurationError, match="empty or blank"):
        webhook("")
    with pytest.raises(ConfigurationError, match="a view is called with"):
        webhook(SECRET)(lambda: None)
    with pytest.raises(ConfigurationError, match=r"lambda.* can be called without an event"):
        webhook(SECRET)(lambda *anything: None)


@pytest.mark.parametrize("name", WITH_WEBHOOK)
def test_a_view_is_decorated_once_also_with_another_decorator_between(name: str) -> None:
    webhook = import_module(f"karla_receiver.adapters.{name}").webhook
    decorated = webhook(SECRET)(lambda first, second: None)

    @wraps(decorated)
    def between(first: Any, second: Any) -> None:
        """Stand for any other decorator."""

    for view in (decorated, between):
        with pytest.raises(ConfigurationError, match="decorated with @webhook already"):
            webhook("another-secret")(view)


@pytest.mark.parametrize("name", WITH_WEBHOOK)
def test_a_view_keeps_its_name(name: str) -> None:
    def on_karla_event(first: Any, second: Any) -> None:
        """Act on an event."""

    webhook = import_module(f"karla_receiver.adapters.{name}").webhook
    assert webhook(SECRET)(on_karla_event).__name__ == "on_karla_event"


@pytest.mark.parametrize("name", SHOPS)
def test_no_secret_stays_in_a_frame_of_an_error(name: str) -> None:
    module = import_module(f"karla_receiver.adapters.{name}")
    decorate = getattr(module, "webhook", None) or module.KarlaRouter
    with pytest.raises(ConfigurationError) as raised:
        decorate("canary-secret ", "another")

    frame: TracebackType | None = raised.tb
    while frame is not None:
        if "karla_receiver" in frame.tb_frame.f_code.co_filename:
            assert "canary" not in repr(frame.tb_frame.f_locals)
        frame = frame.tb_next
