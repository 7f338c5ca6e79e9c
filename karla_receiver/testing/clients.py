"""Clients for endpoints of every kind: an app or a function in this process, or a URL.

They send what a well-behaved client would not: any bytes in a header, a header twice, any method.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import inspect
import io
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Protocol, Self, TypeAlias
from urllib.parse import quote, urlsplit

from karla_receiver.adapters.wsgi import KarlaApp
from karla_receiver.errors import ConfigurationError
from karla_receiver.receiver import Receiver
from karla_receiver.testing.answers import Answer, logged_reasons
from karla_receiver.testing.deliveries import Delivery
from karla_receiver.views.paths import DEFAULT_PATH

__all__ = [
    "Client",
    "NoAnswerError",
    "Target",
    "UnsendableError",
    "asgi_scope",
    "client_for",
    "exchange_asgi",
    "exchange_wsgi",
    "wsgi_environ",
]

# An ASGI app, a WSGI app, a Receiver, a URL, or a function of one's own, send(Delivery) -> Answer.
Target: TypeAlias = Callable[..., Any] | Receiver | str
_Message: TypeAlias = dict[str, Any]


class NoAnswerError(Exception):
    """The endpoint did not answer: the message says what happened instead."""


class UnsendableError(Exception):
    """A delivery cannot be put on the wire: a line break in a header would be another header."""


class Client(Protocol):
    """Sends deliveries to one endpoint, between `__enter__` and `__exit__`."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...

    def send(self, delivery: Delivery) -> Answer:
        """Send a delivery and return the answer.

        Raises NoAnswerError if there is none, UnsendableError if the delivery cannot be sent;
        and whatever an app in this process raises instead of answering.
        """
        ...


def client_for(target: Target, *, path: str | None = None, timeout: float = 30) -> Client:
    """Return the client for an endpoint.

    target: an ASGI or WSGI app (as Flask's, Django's, Starlette's, FastAPI's), a Receiver, the
    endpoint's URL; or, for what is none of these, a function `send(delivery)` that hands a
    `Delivery` to the endpoint as its framework would, and returns its `Answer`.
    path: of the endpoint in an app, with its query if it has one; "/webhooks/karla" if left out.
    A URL has its path already, and `send` needs none.
    timeout: seconds to wait for an answer; a WSGI app runs in the caller's thread, without.
    Raises ConfigurationError for a target that is nothing of this.
    """
    if isinstance(target, str):
        if path is not None:
            raise ConfigurationError("path is for an app in this process: a URL has its own")
        return _HTTPClient(target, timeout)
    place = DEFAULT_PATH if path is None else path
    if not place.startswith("/"):
        raise ConfigurationError(f"path must start with '/', as in {DEFAULT_PATH!r}")
    if isinstance(target, Receiver):
        return _FunctionClient(partial(_send_wsgi, KarlaApp(target), place))
    if not callable(target):
        raise ConfigurationError(
            "expected an ASGI app, a WSGI app, a Receiver, a URL or a function send(delivery), not"
            f" {type(target).__name__}"
        )
    is_async = any(map(inspect.iscoroutinefunction, (target, type(target).__call__)))
    if _takes(target, 3) and (is_async or not _takes(target, 2)):
        return _ASGIClient(target, place, timeout)
    if _takes(target, 2) and not is_async:
        return _FunctionClient(partial(_send_wsgi, target, place))
    if _takes(target, 1) and not is_async:
        return _FunctionClient(target)
    raise ConfigurationError(
        f"{type(target).__name__} is no ASGI app (scope, receive, send), no WSGI app (environ,"
        " start_response) and no plain function send(delivery): serve it, and give its URL"
    )


def _takes(target: Callable[..., Any], count: int) -> bool:
    try:
        inspect.signature(target).bind(*[object()] * count)
    except (TypeError, ValueError):
        return False
    return True


def _with_query(delivery: Delivery, place: str) -> tuple[str, Delivery]:
    path, _, query = place.partition("?")
    return path, replace(delivery, query="&".join(filter(None, (query, delivery.query))))


# --- a function ----------------------------------------------------------------------------------


class _FunctionClient:
    def __init__(self, send: Callable[[Delivery], Answer]) -> None:
        self._send = send

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def send(self, delivery: Delivery) -> Answer:
        with logged_reasons() as reasons:
            answer = self._send(delivery)
        if not isinstance(answer, Answer):
            raise NoAnswerError(f"send returned no Answer, but {type(answer).__name__}")
        return replace(answer, reason=reasons[0] if reasons else None)


# --- WSGI ----------------------------------------------------------------------------------------


def _send_wsgi(app: Callable[..., Any], place: str, delivery: Delivery) -> Answer:
    path, delivery = _with_query(delivery, place)
    return exchange_wsgi(app, wsgi_environ(delivery, path))


def wsgi_environ(delivery: Delivery, path: str) -> dict[str, Any]:
    """Return the environ that a WSGI server makes of a delivery (PEP 3333)."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": delivery.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path.encode().decode("latin-1"),
        "QUERY_STRING": delivery.query,
        "REMOTE_ADDR": "127.0.0.1",
        "SERVER_NAME": "testserver",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "testserver",
        "CONTENT_LENGTH": str(len(delivery.body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(delivery.body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in delivery.headers:
        key = name.upper().replace("-", "_")
        key = key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{key}"
        # Servers join the lines of a header with a comma.
        earlier = environ.get(key) if key.startswith("HTTP_") else None
        environ[key] = value if earlier is None else f"{earlier},{value}"
    return environ


def exchange_wsgi(app: Callable[..., Any], environ: dict[str, Any]) -> Answer:
    """Call a WSGI app as a server does, and return its answer.

    Raises NoAnswerError if it ends without one.
    """
    started: list[tuple[str, list[tuple[str, str]]]] = []
    written: list[bytes] = []

    def start_response(
        status: str, headers: list[tuple[str, str]], exc_info: object = None
    ) -> Callable[[bytes], None]:
        started.append((status, headers))
        return written.append

    chunks = app(environ, start_response)
    try:
        written.extend(chunks)
    finally:
        close = getattr(chunks, "close", None)
        if close is not None:
            close()
    if not started:
        raise NoAnswerError("the app never called start_response")
    status, headers = started[-1]
    return Answer(
        status=int(status.split()[0]),
        headers=tuple(headers),
        body=b"".join(written),
    )


# --- ASGI ----------------------------------------------------------------------------------------


class _ASGIClient:
    """Runs an app on an event loop in a thread of its own, from its startup to its shutdown.

    So it can be used within a running event loop too, and what the app binds to its loop stays
    usable from one delivery to the next.
    """

    def __init__(self, app: Callable[..., Any], place: str, timeout: float) -> None:
        self._app = app
        self._place = place
        self._timeout = timeout
        self._state: dict[str, Any] = {}
        self._is_running = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._is_running.wait()
        problem = self._startup_problem
        if problem is not None:
            self._thread.join()
            raise problem
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(self._timeout)

    def send(self, delivery: Delivery) -> Answer:
        path, delivery = _with_query(delivery, self._place)
        scope = {**asgi_scope(delivery, path), "state": dict(self._state)}
        body = {"type": "http.request", "body": delivery.body, "more_body": False}
        with logged_reasons() as reasons:
            answer = self._run(_answer(self._app, scope, body))
        return replace(answer, reason=reasons[0] if reasons else None)

    def _run(self, exchange: Coroutine[Any, Any, Answer]) -> Answer:
        async def caught() -> Answer | BaseException:
            # Not through the future: SystemExit in a task would end the loop before it is told.
            try:
                return await exchange
            except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
                return error

        future = asyncio.run_coroutine_threadsafe(caught(), self._loop)
        try:
            result = future.result(self._timeout)
        except TimeoutError:
            future.cancel()
            raise NoAnswerError(f"no answer within {self._timeout} seconds") from None
        if isinstance(result, BaseException):
            raise result
        return result

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        incoming: asyncio.Queue[_Message] = asyncio.Queue()
        outgoing: asyncio.Queue[_Message] = asyncio.Queue()
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": self._state}
        life: asyncio.Future[None] = asyncio.ensure_future(
            self._app(scope, incoming.get, outgoing.put)
        )
        life.add_done_callback(_seen)
        await incoming.put({"type": "lifespan.startup"})
        started = asyncio.ensure_future(outgoing.get())
        either: set[asyncio.Future[Any]] = {life, started}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        # An app that raises, or just returns, knows no lifespan: that is allowed.
        failed = started.done() and started.result()["type"] != "lifespan.startup.complete"
        self._startup_problem = (
            NoAnswerError(f"the app did not start: {started.result().get('message', '')}")
            if failed
            else None
        )
        self._is_running.set()
        if not failed:
            await self._stop.wait()
            await incoming.put({"type": "lifespan.shutdown"})
        started.cancel()
        await asyncio.wait({life}, timeout=self._timeout)


def _seen(life: asyncio.Future[None]) -> None:
    """Look at a task's exception, so that nobody warns that none did."""
    _ = life.cancelled() or life.exception()


def asgi_scope(delivery: Delivery, path: str) -> dict[str, Any]:
    """Return the scope that an ASGI server makes of a delivery."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": delivery.method,
        "scheme": "http",
        "path": path,
        "raw_path": quote(path).encode(),
        "query_string": delivery.query.encode(),
        "root_path": "",
        "client": ("127.0.0.1", 50000),
        "server": ("testserver", 80),
        "headers": [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in delivery.headers
        ],
    }


async def exchange_asgi(
    app: Callable[..., Any],
    scope: dict[str, Any],
    messages: Iterator[_Message],
    *,
    stays: bool = True,
) -> list[_Message]:
    """Run one scope to its end and return the messages that the app sent.

    messages: what the app receives, one at a time, before http.disconnect.
    stays: whether the client waits for the whole response before it disconnects.
    """
    sent: list[_Message] = []
    is_complete = asyncio.Event()

    async def receive() -> _Message:
        for message in messages:
            return message
        if stays:
            await is_complete.wait()
        return {"type": "http.disconnect"}

    async def send(message: _Message) -> None:
        sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            is_complete.set()

    await app(scope, receive, send)
    return sent


async def _answer(app: Callable[..., Any], scope: dict[str, Any], body: _Message) -> Answer:
    length = str(len(body["body"])).encode()
    scope["headers"] += [(b"host", b"testserver"), (b"content-length", length)]
    sent = await exchange_asgi(app, scope, iter([body]))
    if not sent or sent[0]["type"] != "http.response.start":
        raise NoAnswerError("the app returned without an answer")
    start, *rest = sent
    return Answer(
        status=start["status"],
        headers=tuple(
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in start.get("headers", ())
        ),
        body=b"".join(message.get("body", b"") for message in rest),
    )


# --- a URL ---------------------------------------------------------------------------------------


class _HTTPClient:
    """Sends to a server, each delivery over a connection of its own."""

    def __init__(self, url: str, timeout: float) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigurationError("a URL must start with http:// or https:// and name a host")
        self._parts = parts
        self._timeout = timeout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def send(self, delivery: Delivery) -> Answer:
        parts = self._parts
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        connection = kind(parts.hostname or "", parts.port, timeout=self._timeout)
        try:
            _put(connection, delivery, quote(parts.path or "/", safe="/%"), parts.query)
            response = connection.getresponse()
            headers = tuple(response.getheaders())
            return Answer(status=response.status, headers=headers, body=response.read())
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswerError(f"{type(error).__name__}: {error}") from error
        finally:
            connection.close()


def _put(connection: http.client.HTTPConnection, delivery: Delivery, path: str, query: str) -> None:
    queries = "&".join(filter(None, (query, delivery.query)))
    target = f"{path}?{queries}" if queries else path
    connection.putrequest(delivery.method, target, skip_accept_encoding=True)
    try:
        for name, value in delivery.headers:
            connection.putheader(name, value.encode("latin-1"))
    except ValueError as error:
        raise UnsendableError(str(error)) from None
    connection.putheader("Content-Length", str(len(delivery.body)))
    # A server may answer and hang up before it has read it all: its answer counts.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.endheaders(delivery.body)
