from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from functools import partial, wraps
from types import coroutine
from typing import Any

import pytest

from karla_receiver import (
    ClaimEvent,
    ConfigurationError,
    Event,
    EventGroup,
    Reason,
    Receiver,
    Request,
    Response,
    ShipmentEvent,
    UnknownEvent,
    parse_event,
    samples,
    sign,
)
from karla_receiver.errors import DeliveryError, RequestError
from tests.receiving import Receive
from tests.signing import BODY, SECRET, signature_header, signed

CLAIM = samples.read("claim_created")
MISFIT = BODY.replace(b'"shipment_id"', b'"shipment_uuid"', 1)


def test_a_genuine_delivery_reaches_its_handler_and_is_acknowledged(receive: Receive) -> None:
    receiver = Receiver(SECRET)
    events: list[Event] = []
    receiver.on("shipments/delivered")(events.append)
    response = receive(receiver, signed())

    assert response == Response(
        200,
        (("content-type", "application/json"), ("content-length", "20")),
        b'{"status":"success"}',
    )
    assert [type(event) for event in events] == [ShipmentEvent]


def test_an_event_that_nobody_wants_is_acknowledged(receive: Receive) -> None:
    receiver = Receiver(SECRET)
    receiver.on("claims")(lambda event: pytest.fail("not wanted"))

    assert receive(receiver, signed()).status == 200


def test_all_handlers_that_want_an_event_run_in_order_even_after_an_error(
    receive: Receive, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = Receiver(SECRET)
    calls: list[str] = []

    @receiver.on("shipments", "claims")
    def first(event: Event) -> None:
        calls.append("first")
        raise ValueError("first broke")

    @receiver.on("*")
    async def second(event: Event) -> None:
        calls.append("second")
        raise KeyError("second broke")

    @receiver.on(group=EventGroup.SHIPMENT_DELIVERED)
    def third(event: Event) -> str:
        calls.append("third")
        return "what a handler returns means nothing"

    @receiver.on("shipments/in_transit")
    def never(event: Event) -> None:
        calls.append("never")

    response = receive(receiver, signed())

    assert calls == ["first", "second", "third"]
    assert (response.status, response.reason) == (500, Reason.HANDLER_ERROR)
    assert b"broke" not in response.body
    assert len(caplog.records) == 1
    assert "handler_error" in caplog.records[0].getMessage()
    assert "first broke" in caplog.text
    assert "second broke" in caplog.text


def test_an_error_that_claims_to_be_nothing_is_an_error_all_the_same(receive: Receive) -> None:
    class FalsyError(Exception):
        def __bool__(self) -> bool:
            return False

    receiver = Receiver(SECRET)

    @receiver.on("*")
    def handler(event: Event) -> None:
        raise FalsyError

    assert receive(receiver, signed()).status == 500


@pytest.mark.parametrize("error", [StopIteration, StopAsyncIteration, RecursionError, OSError])
def test_no_exception_of_a_handler_upsets_the_path(receive: Receive, error: Any) -> None:
    receiver = Receiver(SECRET)

    @receiver.on("*")
    def handler(event: Event) -> None:
        raise error

    assert receive(receiver, signed()).reason is Reason.HANDLER_ERROR


@pytest.mark.parametrize(
    ("pattern", "body", "expected"),
    [
        ("shipments", BODY, ShipmentEvent),
        ("claims", CLAIM, ClaimEvent),
        ("*", MISFIT, UnknownEvent),
    ],
)
def test_a_handler_gets_the_type_that_its_pattern_promises(
    receive: Receive, pattern: str, body: bytes, expected: type[Event]
) -> None:
    receiver = Receiver(SECRET)
    events: list[Event] = []
    receiver.on(pattern)(events.append)

    assert receive(receiver, signed(body)).status == 200
    assert [type(event) for event in events] == [expected]


def test_an_event_that_does_not_fit_is_refused_before_any_handler_runs(
    receive: Receive, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = Receiver(SECRET)
    receiver.on("*")(lambda event: pytest.fail("called too early"))
    receiver.on("shipments/delivered")(lambda event: pytest.fail("called with a wrong type"))
    response = receive(receiver, signed(MISFIT))

    assert (response.status, response.reason) == (500, Reason.UNDECODABLE_EVENT)
    assert "event_data: shipment_id: Expected `str`, got `null`" in caplog.text


def test_an_event_of_another_type_under_a_shipments_ref_does_not_fit(receive: Receive) -> None:
    receiver = Receiver(SECRET)
    receiver.on("shipments")(lambda event: pytest.fail("called with a wrong type"))
    body = CLAIM.replace(b'"claims/created"', b'"shipments/delivered/X"', 1)

    assert receive(receiver, signed(body)).reason is Reason.UNDECODABLE_EVENT


def test_what_wants_an_event_is_looked_up_anew_after_a_registration(receive: Receive) -> None:
    receiver = Receiver(SECRET)
    calls: list[str] = []
    for name in ("first", "second"):
        receiver.on("shipments")(lambda event, name=name: calls.append(name))
        receive(receiver, signed())
    receiver.on(group=EventGroup.SHIPMENT_DELIVERED)(lambda event: calls.append("third"))
    receive(receiver, signed())
    receive(receiver, signed(BODY.replace(b'"shipment_delivered"', b'"shipment_x"', 1)))
    assert calls == ["first", *["first", "second"] * 2, "third", "first", "second"]


def test_many_kinds_of_events_are_looked_up_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("karla_receiver.handlers.routing._MOST_KINDS", 1)
    receiver = Receiver(SECRET)
    refs: list[str | None] = []
    receiver.on("shipments")(lambda event: refs.append(event.ref))
    sent = ["shipments/delivered/A", "shipments/delivered/B", "claims/created", "x/y"] * 2
    for ref in sent:
        receiver.receive(
            signed(BODY.replace(b"shipments/delivered/SUCCESSFULLY_DELIVERED", ref.encode(), 1))
        )
    assert refs == sent  # by its source, where the ref says something else


def test_a_handler_of_everything_as_well_takes_what_does_not_fit(receive: Receive) -> None:
    receiver = Receiver(SECRET)
    events: list[Event] = []
    receiver.on("shipments", "*")(events.append)

    assert receive(receiver, signed(MISFIT)).status == 200
    assert len(events) == 1


def test_sync_handlers_run_off_the_event_loop_in_the_requests_context() -> None:
    receiver = Receiver(SECRET)
    request_id: contextvars.ContextVar[int] = contextvars.ContextVar("request_id")
    seen: list[tuple[bool, int]] = []

    @receiver.on("*")
    def handler(event: Event) -> None:
        is_main = threading.current_thread() is threading.main_thread()
        seen.append((is_main, request_id.get()))

    async def serve() -> None:
        request_id.set(7)
        await receiver.receive_async(signed())

    asyncio.run(serve())
    assert seen == [(False, 7)]


class AsyncCallable:
    """A handler whose __call__ is async."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    async def __call__(self, event: Event) -> None:
        await asyncio.sleep(0)
        self.events.append(event)


def test_async_handlers_of_every_make_run_to_their_end(receive: Receive) -> None:
    receiver = Receiver(SECRET)
    handler = AsyncCallable()
    receiver.on("*")(handler)
    receiver.on("*")(lambda event: handler(event))
    receiver.on("*")(functools.partial(AsyncCallable.__call__, handler))

    assert receive(receiver, signed()).status == 200
    assert len(handler.events) == 3


def test_receive_handles_also_where_it_is_called_on_a_running_loop() -> None:
    receiver = Receiver(SECRET)
    handler = AsyncCallable()
    receiver.on("*")(handler)

    async def misuse() -> Response:
        receiver.note_loop()
        return receiver.receive(signed())

    assert asyncio.run(misuse()).status == 200
    assert len(handler.events) == 1


def test_receive_on_the_loop_that_it_would_wait_for_is_an_error_and_never_hangs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    receiver = Receiver(SECRET)
    statuses: list[int] = []
    inner = Receiver(SECRET)
    inner.on("*")(AsyncCallable())

    @receiver.on("*")
    async def misuse(event: Event) -> None:
        statuses.append(inner.receive(signed()).status)

    assert receiver.receive(signed()).status == 200
    assert statuses == [500]
    assert "await receive_async there" in caplog.text


def test_receive_async_says_that_it_needs_asyncio() -> None:
    path = Receiver(SECRET).receive_async(signed())
    with pytest.raises(ConfigurationError) as refusal:
        path.send(None)  # as trio does
    assert str(refusal.value) == (
        "receive_async needs a running asyncio event loop, and there is none: under trio, call"
        " receive in a thread: trio.to_thread.run_sync(receiver.receive, request)"
    )


@pytest.mark.parametrize("is_async", [False, True])
def test_a_handler_that_raises_cancelled_error_is_answered(
    receive: Receive, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = Receiver(SECRET)

    def fail(event: Event) -> None:
        raise asyncio.CancelledError

    async def fail_async(event: Event) -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    receiver.on("*")(fail_async if is_async else fail)
    assert receive(receiver, signed()).status == 500
    assert "the handler raised CancelledError" in caplog.text


def wrapped(handler: Callable[[Event], Any]) -> Callable[[Event], Any]:
    @wraps(handler)
    def wrapper(event: Event) -> Any:
        return handler(event)

    return wrapper


def wrapped_async(handler: Callable[[Event], Any]) -> Callable[[Event], Any]:
    async def wrapper(event: Event) -> Any:
        return handler(event)

    return wrapper


@pytest.mark.parametrize("is_view", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        lambda: wrapped(lambda event: (each for each in "work")),
        lambda: wrapped(async_generator),
        lambda: wrapped_async(generator),
        lambda: partial(GeneratorCalled()),
        lambda: staticmethod(generator),
    ],
)
def test_a_generator_that_a_handler_returns_is_an_error_for_its_work_is_not_done(
    receive: Receive, make: Callable[[], Any], is_view: bool
) -> None:
    receiver = Receiver(SECRET)
    view = make() if is_view else None
    if not is_view:
        receiver.on("*")(make())
    answer = receive(receiver, signed(), view=view)
    assert answer.reason is Reason.HANDLER_ERROR


def test_the_work_of_a_generator_under_a_decorator_is_failed_in_an_inbox_too() -> None:
    receiver = Receiver(SECRET)
    receiver.on("*")(wrapped(lambda event: (each for each in "work")))
    with pytest.raises(DeliveryError, match="TypeError"):
        receiver.handlers.handle(parse_event(BODY))


@coroutine
def old_coroutine(event: Event) -> Generator[None, None, None]:
    yield


def test_a_coroutine_made_of_a_generator_is_awaited(receive: Receive) -> None:
    receiver = Receiver(SECRET)
    receiver.on("*")(wrapped(old_coroutine))
    assert receive(receiver, signed()).status == 200


def test_a_view_is_called_last_and_only_if_all_handlers_returned() -> None:
    receiver = Receiver(SECRET)
    calls: list[str] = []

    @receiver.on("*")
    def handler(event: Event) -> None:
        calls.append("handler")
        if len(calls) > 2:
            raise OSError

    def view(event: Event) -> None:
        calls.append("view")

    assert receiver.receive(signed(), view=view).status == 200
    assert receiver.receive(signed(), view=view).status == 500
    assert calls == ["handler", "view", "handler"]


# --- what comes in -------------------------------------------------------------------------------


def chunked(body: bytes) -> Iterator[bytes]:
    yield from (body[at : at + 100] for at in range(0, len(body), 100))


async def chunked_async(body: bytes) -> AsyncIterator[bytes]:
    for chunk in chunked(body):
        yield chunk


@pytest.mark.parametrize(
    "make", [bytes, bytearray, memoryview, chunked, lambda body: [b"", body, b""]]
)
def test_a_body_may_come_whole_or_in_chunks(receive: Receive, make: Any) -> None:
    receiver = Receiver(SECRET)
    request = signed()

    assert receive(receiver, Request("POST", request.headers, make(BODY))).status == 200


def test_an_asynchronous_body_needs_receive_async() -> None:
    receiver = Receiver(SECRET)
    headers = signature_header()

    async def serve() -> Response:
        return await receiver.receive_async(Request("POST", headers, chunked_async(BODY)))

    assert asyncio.run(serve()).status == 200
    with pytest.raises(TypeError, match="receive_async"):
        receiver.receive(Request("POST", headers, chunked_async(BODY)))


def test_a_chunk_that_is_not_bytes_is_a_type_error(receive: Receive) -> None:
    with pytest.raises(TypeError, match="raw bytes"):
        receive(Receiver(SECRET), signed(body=["text"]))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"method": "GET"}, Reason.METHOD_NOT_ALLOWED),
        ({"method": "post"}, Reason.METHOD_NOT_ALLOWED),
        ({"headers": {}}, Reason.MISSING_SIGNATURE),
        ({"headers": {"Karla-Signature": "x"}}, Reason.MALFORMED_HEADER),
        ({"headers": {"Content-Length": "x"}}, Reason.BAD_CONTENT_LENGTH),
        ({"headers": {"Content-Length": "1048577"}}, Reason.BODY_TOO_LARGE),
        (
            {"headers": [(b"content-length", b"9"), ("content-length", "8")]},
            Reason.BAD_CONTENT_LENGTH,
        ),
    ],
)
def test_what_can_be_refused_without_the_body_is_refused_unread(
    receive: Receive, changes: dict[str, Any], reason: Reason
) -> None:
    def unread() -> Iterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    fields: dict[str, Any] = {"body": unread(), **changes}
    assert receive(Receiver(SECRET), signed(**fields)).reason is reason


def test_a_body_is_read_no_further_than_the_limit(receive: Receive) -> None:
    read: list[int] = []

    def very_long() -> Iterator[bytes]:
        # Not endless: a reader without a limit is to fail here, and not to take all memory.
        for _ in range(1000):
            read.append(1000)
            yield b"a" * 1000

    response = receive(Receiver(SECRET, max_body_bytes=4096), signed(b"", body=very_long()))
    assert response.reason is Reason.BODY_TOO_LARGE
    assert sum(read) == 5000


def test_a_body_of_exactly_the_limit_is_received(receive: Receive) -> None:
    assert receive(Receiver(SECRET, max_body_bytes=len(BODY)), signed()).status == 200
    tight = Receiver(SECRET, max_body_bytes=len(BODY) - 1)
    assert receive(tight, signed()).status == 413


def test_reading_that_breaks_off_is_answered_or_given_up_by_its_reason(receive: Receive) -> None:
    def broken(reason: Reason) -> Iterator[bytes]:
        yield BODY[:10]
        raise RequestError(reason)

    receiver = Receiver(SECRET)
    incomplete = signed(body=broken(Reason.BODY_INCOMPLETE))
    assert receive(receiver, incomplete).status == 400
    with pytest.raises(RequestError) as refusal:
        receive(receiver, signed(body=broken(Reason.CLIENT_DISCONNECTED)))
    assert refusal.value.status is None


@pytest.mark.parametrize(("scheme", "status"), [("https", 200), ("http", 403), ("HTTPS", 403)])
def test_https_can_be_required(receive: Receive, scheme: str, status: int) -> None:
    receiver = Receiver(SECRET, require_https=True)

    assert receive(receiver, signed(scheme=scheme)).status == status
    assert receive(Receiver(SECRET), signed(scheme=scheme)).status == 200


def test_head_is_refused_without_a_body(receive: Receive) -> None:
    receiver = Receiver(SECRET)
    head, get = (receive(receiver, signed(b"", method=method)) for method in ("HEAD", "GET"))

    assert head.body == b""
    assert (head.status, head.headers) == (get.status, get.headers)
    assert ("allow", "POST") in head.headers


# --- set-up --------------------------------------------------------------------------------------


def test_enabled_events_are_the_fewest_patterns_that_the_handlers_need() -> None:
    receiver = Receiver(SECRET)
    wanted = receiver.on
    assert receiver.enabled_events == []

    wanted("shipments/delivered/SUCCESSFULLY_DELIVERED")(print)
    wanted("claims/created", "shipments/in_delivery")(print)
    wanted("claims/created", "claims/CREATED")(print)
    wanted(group=EventGroup.CLAIM_UPDATED)(print)
    assert receiver.enabled_events == [
        "shipments/delivered/SUCCESSFULLY_DELIVERED",
        "claims/CREATED",
        "shipments/in_delivery",
        "claims/updated",
    ]
    wanted("shipments/delivered")(print)
    assert receiver.enabled_events[-1] == "shipments/delivered"
    assert len(receiver.enabled_events) == 4
    receiver.want("shipments")
    assert receiver.enabled_events == ["claims/CREATED", "claims/updated", "shipments"]
    wanted(group="something_new")(print)
    assert receiver.enabled_events == ["*"]


def test_the_decorator_gives_the_handler_back() -> None:
    def handler(event: Event) -> None:
        """Do nothing."""

    assert Receiver(SECRET).on("*")(handler) is handler


@pytest.mark.parametrize(
    ("patterns", "group", "remedy"),
    [
        ((), None, "name a pattern"),
        (("*",), "shipment_delivered", "stack two decorators"),
        ((), "", "event group"),
        ((), "shipments/delivered", "event group"),
        ((), 5, "event group"),
        ((), "shipment_deliverd", "did you mean 'shipment_delivered'"),
        ((print,), None, "parentheses"),
        (("shipment/delivered",), None, "did you mean 'shipments/delivered'"),
    ],
)
def test_on_refuses_what_could_never_call_the_handler(
    patterns: Any, group: Any, remedy: str
) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        Receiver(SECRET).on(*patterns, group=group)
    assert remedy in str(refusal.value)


def generator(event: Event) -> Iterator[None]:
    yield


async def async_generator(event: Event) -> AsyncIterator[None]:
    yield


class GeneratorCalled:
    def __call__(self, event: Event) -> Iterator[None]:
        yield


@pytest.mark.parametrize(
    ("handler", "remedy"),
    [
        (lambda: None, "<lambda>() does not take that"),
        (lambda event, other: None, "does not take that"),
        (lambda *, event: None, "does not take that"),
        (generator, "generator is a generator"),
        (async_generator, "is a generator"),
        (GeneratorCalled(), "GeneratorCalled is a generator"),
        ("a text", "must be callable, not str"),
        (None, "must be callable, not NoneType"),
    ],
)
def test_a_handler_that_does_not_take_the_event_is_refused(handler: Any, remedy: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        Receiver(SECRET).on("*")(handler)
    assert remedy in str(refusal.value)


@pytest.mark.parametrize(
    "handler", [print, lambda *events: None, lambda event, other=1: None, dict]
)
def test_a_handler_that_can_take_the_event_is_accepted(handler: Any) -> None:
    Receiver(SECRET).on("*")(handler)


@pytest.mark.parametrize(
    "options",
    [
        {"max_body_bytes": 0},
        {"max_body_bytes": 1e6},
        {"max_body_bytes": True},
        {"max_body_bytes": None},
        {"require_https": "yes"},
        {"tolerance": -1},
        {"clock": 5},
        {"idempotency": object()},
        {"inbox": object()},
    ],
)
def test_an_option_that_cannot_work_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Receiver(SECRET, **options)


def test_secrets_come_from_the_environment() -> None:
    one = Receiver.from_env({"KARLA_WEBHOOK_SECRET": SECRET})
    two = Receiver.from_env({"KARLA_WEBHOOK_SECRETS": f"new-secret,{SECRET}"}, tolerance=60)

    assert one.receive(signed()).status == 200
    assert two.receive(signed()).status == 200
    late = {"Karla-Signature": sign(BODY, SECRET, timestamp=int(time.time()) - 100)}
    assert one.receive(Request("POST", late, BODY)).status == 200
    assert two.receive(Request("POST", late, BODY)).status == 401


@pytest.mark.parametrize("secret", ["X", "one,two", '"quoted"'])
def test_one_secret_of_the_environment_is_taken_as_it_is(secret: str) -> None:
    receiver = Receiver.from_env({"KARLA_WEBHOOK_SECRET": secret})
    assert receiver.receive(signed(secret=secret)).status == 200


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KARLA_WEBHOOK_SECRET", SECRET)
    assert Receiver.from_env().receive(signed()).status == 200


@pytest.mark.parametrize(
    ("environ", "remedy"),
    [
        (
            {},
            "set KARLA_WEBHOOK_SECRET to the webhook's secret, or KARLA_WEBHOOK_SECRETS to several,"
            " separated by commas: neither is set",
        ),
        ({"KARLA_WEBHOOK_SECRET": "canary", "KARLA_WEBHOOK_SECRETS": "canary"}, "both are set"),
        (
            {"KARLA_WEBHOOK_SECRET": ""},
            "KARLA_WEBHOOK_SECRET is set, but empty: give it a value, or unset it (in a container's"
            " environment: leave it out)",
        ),
        ({"KARLA_WEBHOOK_SECRETS": ""}, "KARLA_WEBHOOK_SECRETS is set, but empty"),
        ({"KARLA_WEBHOOK_SECRETS": " ,"}, "KARLA_WEBHOOK_SECRETS is set, but empty"),
        (
            {"KARLA_WEBHOOK_SECRET": "canary", "KARLA_WEBHOOK_SECRETS": ""},
            "KARLA_WEBHOOK_SECRETS is set, but empty",
        ),
        ({"KARLA_WEBHOOK_SECRETS": "canary,"}, "secret 2 is empty"),
        ({"KARLA_WEBHOOK_SECRETS": "canary, canary"}, "secret 2 starts or ends with a space"),
    ],
)
def test_an_environment_that_does_not_say_which_secret_is_refused(
    environ: dict[str, str], remedy: str
) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        Receiver.from_env(environ)
    assert remedy in str(refusal.value)
    assert "canary" not in str(refusal.value)


def test_an_event_that_was_kept_is_handled_as_it_was_sent() -> None:
    receiver = Receiver(SECRET)
    handled: list[Event] = []
    receiver.on("shipments")(handled.append)
    event = parse_event(BODY)

    receiver.handlers.handle(event)
    assert handled == [event]


def test_the_clock_is_the_receivers_own() -> None:
    header = signature_header(timestamp=1000)
    receiver = Receiver(SECRET, clock=lambda: 1000, tolerance=0)

    assert receiver.receive(Request("POST", header, BODY)).status == 200
    assert Receiver(SECRET, clock=time.time).receive(Request("POST", header, BODY)).reason is (
        Reason.TIMESTAMP_TOO_OLD
    )
