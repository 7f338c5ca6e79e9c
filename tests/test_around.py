"""What is entered around every handler call, whichever way the call comes about."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import (
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
    suppress,
)
from contextvars import ContextVar
from functools import partial
from typing import Any

import pytest

from karla_receiver import (
    ConfigurationError,
    DeliveryError,
    Discard,
    Event,
    Receiver,
    RetryLater,
    views,
)
from karla_receiver.adapters.asgi import KarlaMiddleware
from karla_receiver.idempotency import MemoryStore
from tests.doors import PATH, asgi_scope, run_asgi, signed_knock
from tests.signing import SECRET, signed
from tests.ways import BODY, WAYS, Way

IN_EVERY_WAY = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
SYNC_AND_ASYNC = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])

CURRENT: ContextVar[str] = ContextVar("tests.around", default="nothing")


def as_handler(function: Callable[[Event], object], *, is_async: bool) -> Any:
    async def handle(event: Event) -> object:
        await asyncio.sleep(0)
        return function(event)

    return handle if is_async else function


class Log:
    """Notes what happens, and in which thread."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.threads: set[int] = set()

    def note(self, line: str) -> None:
        self.lines.append(line)
        self.threads.add(threading.get_ident())

    def around(self, name: str) -> Callable[[Event], AbstractContextManager[None]]:
        @contextmanager
        def entered(event: Event) -> Generator[None]:
            self.note(f"enter {name} for {event.ref} in {CURRENT.get()}")
            token = CURRENT.set(name)
            try:
                yield
            except BaseException as error:
                self.note(f"{name} saw {error!r}")
                raise
            else:
                self.note(f"leave {name}")
            finally:
                CURRENT.reset(token)

        return entered


@IN_EVERY_WAY
@SYNC_AND_ASYNC
def test_it_is_entered_around_each_handler_in_the_order_of_registration(
    way: Way, is_async: bool
) -> None:
    log = Log()

    def prepare(receiver: Receiver) -> None:
        for name in ("first", "second"):
            handler = partial(_note, log, name)
            receiver.on("*")(as_handler(handler, is_async=is_async))
        receiver.around(log.around("outer"))
        receiver.around(log.around("inner"))

    assert way(prepare, 1) == ["handled"]
    assert log.lines[:10] == [
        line
        for name in ("first", "second")
        for line in (
            "enter outer for parcels/sent in nothing",
            "enter inner for parcels/sent in outer",
            f"{name} in inner",
            "leave inner",
            "leave outer",
        )
    ]
    # A view that a door needs to stand there is one handler more.
    assert len(log.lines) in (10, 14)


def _note(log: Log, name: str, event: Event) -> None:
    log.note(f"{name} in {CURRENT.get()}")


@IN_EVERY_WAY
@SYNC_AND_ASYNC
def test_it_is_entered_in_the_handlers_own_thread(way: Way, is_async: bool) -> None:
    threads: list[int] = []

    @contextmanager
    def around(event: Event) -> Generator[None]:
        threads.append(threading.get_ident())
        yield
        threads.append(threading.get_ident())

    def prepare(receiver: Receiver) -> None:
        receiver.around(around)
        handler = as_handler(lambda event: threads.append(threading.get_ident()), is_async=is_async)
        receiver.on("*")(handler)

    assert way(prepare, 1) == ["handled"]
    assert len(set(threads[:3])) == 1


@IN_EVERY_WAY
@SYNC_AND_ASYNC
@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ValueError("of the handler"), {"handler_error"}),
        (RetryLater(5, "not yet"), {"retry_later"}),
        (Discard("no use"), {"discarded", "handled"}),  # the former of a worker's attempt
    ],
    ids=["error", "RetryLater", "Discard"],
)
def test_it_sees_what_the_handler_raises_and_cannot_suppress_it(
    way: Way, is_async: bool, error: Exception, outcome: set[str]
) -> None:
    log = Log()

    def fail(event: Event) -> None:
        raise error

    def prepare(receiver: Receiver) -> None:
        receiver.around(lambda event: suppress(Exception))
        receiver.around(log.around("session"))
        receiver.on("*")(as_handler(fail, is_async=is_async))

    (found,) = way(prepare, 1)
    assert found in outcome
    assert log.lines[1] == f"session saw {error!r}"


class Fails:
    """A context manager that raises where it is told to."""

    def __init__(self, where: str, error: Exception) -> None:
        self.where = where
        self.error = error

    def __call__(self, event: Event) -> Fails:
        self.raise_in("call")
        return self

    def __enter__(self) -> None:
        self.raise_in("enter")

    def __exit__(self, *raised: object) -> None:
        self.raise_in("exit")

    def raise_in(self, where: str) -> None:
        if where == self.where:
            raise self.error


@IN_EVERY_WAY
@SYNC_AND_ASYNC
@pytest.mark.parametrize("where", ["call", "enter", "exit"])
def test_an_error_in_it_is_the_handlers_error(way: Way, is_async: bool, where: str) -> None:
    called: list[Event] = []

    def prepare(receiver: Receiver) -> None:
        receiver.around(Fails(where, LookupError("of the session")))
        receiver.on("*")(as_handler(called.append, is_async=is_async))

    assert way(prepare, 1) == ["handler_error"]
    assert bool(called) == (where == "exit")


@pytest.mark.parametrize(
    ("outcome", "status"), [(Discard("no use"), 200), (RetryLater(5), 503), (ValueError(), 500)]
)
def test_it_may_make_another_outcome_of_an_error(outcome: Exception, status: int) -> None:
    @contextmanager
    def translated(event: Event) -> Generator[None]:
        try:
            yield
        except LookupError:
            raise outcome from None

    receiver = Receiver(SECRET)
    receiver.around(translated)

    @receiver.on("*")
    def handle(event: Event) -> None:
        raise LookupError("of the database")

    assert receiver.receive(signed(BODY)).status == status


# --- async context managers ---


@IN_EVERY_WAY
def test_an_async_one_is_entered_in_the_task_of_an_async_handler(way: Way) -> None:
    tasks: list[Any] = []

    @asynccontextmanager
    async def around(event: Event) -> AsyncGenerator[None]:
        tasks.append(asyncio.current_task())
        token = CURRENT.set("session")
        await asyncio.sleep(0)
        yield
        CURRENT.reset(token)
        tasks.append(asyncio.current_task())

    async def handle(event: Event) -> None:
        tasks.append(asyncio.current_task())
        assert CURRENT.get() == "session"

    def prepare(receiver: Receiver) -> None:
        receiver.on("*")(handle)
        receiver.around(around)
        # What a door needs beside it may be a sync view, for which this is none.
        receiver.around(lambda event: nullcontext(), outermost=True)

    way(prepare, 1)
    assert len(tasks) >= 3
    assert len(set(tasks[:3])) == 1


def answer_of(receiver: Receiver, *, is_async: bool) -> int:
    request = signed(BODY)
    if is_async:
        return asyncio.run(receiver.receive_async(request)).status
    return receiver.receive(request).status


@SYNC_AND_ASYNC
def test_an_async_one_around_a_sync_handler_is_an_error_that_says_so(
    is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    @asynccontextmanager
    async def session(event: Event) -> AsyncGenerator[None]:
        yield

    receiver = Receiver(SECRET)
    receiver.around(session)
    called: list[Event] = []
    receiver.on("*")(called.append)

    assert answer_of(receiver, is_async=is_async) == 500
    assert not called
    assert "session returned an async context manager" in caplog.text
    assert "make the handler async" in caplog.text


@SYNC_AND_ASYNC
@pytest.mark.parametrize("handler_is_async", [False, True])
def test_what_is_no_context_manager_is_an_error_that_says_so(
    is_async: bool, handler_is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def session(event: Event) -> Any:
        return [event]

    receiver = Receiver(SECRET)
    receiver.around(session)
    receiver.on("*")(as_handler(lambda event: None, is_async=handler_is_async))

    assert answer_of(receiver, is_async=is_async) == 500
    assert "must return a context manager, not list" in caplog.text


class Both:
    """A context manager of either kind, which notes as which it was entered."""

    def __init__(self) -> None:
        self.entered: list[str] = []

    def __call__(self, event: Event) -> Both:
        return self

    def __enter__(self) -> None:
        self.entered.append("sync")

    def __exit__(self, *raised: object) -> None:
        """Nothing is to be closed."""

    async def __aenter__(self) -> None:
        self.entered.append("async")

    async def __aexit__(self, *raised: object) -> None:
        """Nothing is to be closed."""


@SYNC_AND_ASYNC
@pytest.mark.parametrize("handler_is_async", [False, True])
def test_one_of_either_kind_is_entered_as_the_handler_is_called(
    is_async: bool, handler_is_async: bool
) -> None:
    both = Both()
    receiver = Receiver(SECRET)
    receiver.around(both)
    receiver.on("*")(as_handler(lambda event: None, is_async=handler_is_async))

    assert answer_of(receiver, is_async=is_async) == 200
    assert both.entered == ["async" if handler_is_async else "sync"]


@SYNC_AND_ASYNC
def test_what_a_sync_handler_returns_to_await_is_awaited_within_it(is_async: bool) -> None:
    log = Log()

    async def finish() -> None:
        await asyncio.sleep(0)
        log.note(f"handled in {CURRENT.get()}")

    def handle(event: Event) -> Awaitable[None]:
        return finish()

    receiver = Receiver(SECRET)
    receiver.around(log.around("session"))
    receiver.on("*")(handle)

    assert answer_of(receiver, is_async=is_async) == 200
    assert log.lines[1:] == ["handled in session", "leave session"]


# --- registration ---


def generator(event: Event) -> Generator[None]:
    yield


async def async_generator(event: Event) -> AsyncGenerator[None]:
    yield


async def coroutine(event: Event) -> None:
    """Return nothing."""


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (None, "^what is around a handler must be callable, not NoneType$"),
        (nullcontext(), "must be callable"),
        (lambda: nullcontext(), "^what is around a handler is called with event; "),
        (generator, "generator must return a context manager: decorate it with contextlib.context"),
        (async_generator, "decorate it with contextlib.asynccontextmanager"),
        (coroutine, "not be async itself"),
    ],
)
def test_what_can_never_be_around_a_handler_is_refused_when_it_is_registered(
    function: Any, said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Receiver(SECRET).around(function)


def test_outermost_is_true_or_false() -> None:
    with pytest.raises(ConfigurationError, match="outermost must be True or False"):
        Receiver(SECRET).around(lambda event: nullcontext(), outermost=1)  # type: ignore[arg-type]


def test_it_decorates_and_counts_once_also_where_it_is_registered_late_or_again() -> None:
    log = Log()
    receiver = Receiver(SECRET)
    receiver.on("*")(partial(_note, log, "handler"))
    assert answer_of(receiver, is_async=False) == 200
    session = log.around("session")
    assert receiver.around(session) is session
    receiver.around(session)
    assert answer_of(receiver, is_async=False) == 200
    assert log.lines == [
        "handler in nothing",
        "enter session for parcels/sent in nothing",
        "handler in session",
        "leave session",
    ]


def test_what_others_rely_on_can_be_made_the_outermost() -> None:
    log = Log()
    receiver = Receiver(SECRET)
    receiver.around(log.around("session"))
    receiver.around(log.around("app"), outermost=True)
    receiver.on("*")(partial(_note, log, "handler"))
    assert answer_of(receiver, is_async=False) == 200
    assert log.lines[:2] == [
        "enter app for parcels/sent in nothing",
        "enter session for parcels/sent in app",
    ]


# --- views ---


class Answer:
    def __init__(self, status: int) -> None:
        self.status = status


class AbortError(Exception):
    status = 404


def status_of(answer: Any) -> int:
    status: int = answer.status
    return status


def viewed(receiver: Receiver, view: Callable[[Event], Any], *, is_async: bool) -> Any:
    request = signed(BODY)
    asked: Any = as_handler(view, is_async=is_async)
    if is_async:
        return asyncio.run(views.receive_async(receiver, request, asked, status_of, (AbortError,)))
    return views.receive(receiver, request, asked, status_of, (AbortError,))


@SYNC_AND_ASYNC
def test_a_view_is_one_handler_more(is_async: bool) -> None:
    log = Log()
    receiver = Receiver(SECRET)
    receiver.around(log.around("session"))
    answer = viewed(receiver, lambda event: log.note(f"view in {CURRENT.get()}"), is_async=is_async)
    assert answer.status == 200
    assert log.lines[1:] == ["view in session", "leave session"]


@SYNC_AND_ASYNC
def test_a_views_answer_that_is_no_success_is_an_error_to_what_is_around_it(
    is_async: bool,
) -> None:
    raised: list[Any] = []

    @contextmanager
    def session(event: Event) -> Generator[None]:
        try:
            yield
        except DeliveryError as error:
            raised.append(error.answered)
            raise

    def abort(event: Event) -> None:
        raise AbortError

    receiver = Receiver(SECRET, idempotency=MemoryStore())
    receiver.around(session)
    refused = Answer(422)
    assert viewed(receiver, lambda event: refused, is_async=is_async) is refused
    with pytest.raises(AbortError):
        viewed(receiver, abort, is_async=is_async)
    assert raised == [422, 404]
    assert viewed(receiver, lambda event: None, is_async=is_async).status == 200, "was released"


@SYNC_AND_ASYNC
@pytest.mark.parametrize(
    ("error", "status"), [(LookupError("no commit"), 500), (RetryLater(5), 503)]
)
def test_a_views_success_is_not_sent_if_what_is_around_it_fails_afterwards(
    is_async: bool, error: Exception, status: int
) -> None:
    receiver = Receiver(SECRET)
    receiver.around(Fails("exit", error))
    answer = viewed(receiver, lambda event: Answer(201), is_async=is_async)
    assert answer.status == status
    assert not isinstance(answer, Answer)


@SYNC_AND_ASYNC
def test_a_views_refusal_is_not_sent_if_what_is_around_it_discards_the_event(
    is_async: bool,
) -> None:
    receiver = Receiver(SECRET)
    receiver.around(Fails("exit", Discard("no use")))

    def abort(event: Event) -> None:
        raise AbortError

    assert viewed(receiver, abort, is_async=is_async).status == 200
    assert viewed(receiver, lambda event: Answer(500), is_async=is_async).status == 200


@pytest.mark.parametrize(
    ("error", "status"), [(None, 201), (LookupError("no commit"), 500), (RetryLater(5), 503)]
)
def test_a_forwarded_app_is_one_handler_more(error: Exception | None, status: int) -> None:
    log = Log()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        log.note(f"app in {CURRENT.get()}")
        await send({"type": "http.response.start", "status": 201, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})

    receiver = Receiver(SECRET)
    receiver.around(log.around("session"))
    receiver.around(nullcontext if error is None else Fails("exit", error))
    middleware = KarlaMiddleware(app, receiver, path=PATH, forward=True)
    knock = signed_knock(BODY)
    start, body = run_asgi(
        middleware, asgi_scope(knock), iter([{"type": "http.request", "body": BODY}])
    )
    assert start["status"] == status
    assert (body["body"] == b"done") == (error is None)
    assert log.lines[1:] == [
        "app in session",
        "leave session" if error is None else f"session saw {error!r}",
    ]
