"""The four doors of a receiver: the core, ASGI, WSGI and Flask, behind one way to knock."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

from flask import Flask

from karla_receiver import Event, Receiver, Request
from karla_receiver.adapters import asgi, wsgi
from karla_receiver.adapters.flask import webhook
from karla_receiver.errors import DeliveryError
from karla_receiver.logs import logger

PATH = "/webhooks/karla"

Handler: TypeAlias = Callable[[Event], object]


@dataclass(kw_only=True)
class Knock:
    """One request, as bytes on the wire where that matters (text is latin-1)."""

    method: str = "POST"
    headers: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    body: bytes = b""
    # The core only: the body in these pieces, instead of as a whole.
    pieces: list[bytes] | None = None
    query: str = ""
    # ASGI only: the messages, instead of one with the whole body.
    messages: Iterator[dict[str, Any]] | None = None
    # WSGI and Flask only.
    environ: dict[str, Any] = field(default_factory=dict[str, Any])
    read_at_most: int = 1 << 30


@dataclass(kw_only=True)
class Answer:
    """What came back. status: None if no answer was sent; reason: of the log's line."""

    status: int | None
    reason: str | None
    headers: dict[str, str]
    body: bytes


Door: TypeAlias = Callable[[Receiver, Knock], Answer]


@contextlib.contextmanager
def logged_reasons() -> Generator[list[str]]:
    """Collect the reasons that the receiver logs."""
    reasons: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            reason = getattr(record, "reason", None)
            if reason is not None:
                reasons.append(reason)

    collector = Collector()
    level = logger.level
    logger.addHandler(collector)
    logger.setLevel(logging.DEBUG)
    try:
        yield reasons
    finally:
        logger.removeHandler(collector)
        logger.setLevel(level)


def _answer(
    reasons: list[str],
    status: int | None = None,
    headers: list[tuple[str, str]] | tuple[tuple[str, str], ...] = (),
    body: bytes = b"",
) -> Answer:
    assert len(reasons) <= 1, "one line for each refusal"
    return Answer(
        status=status,
        reason=reasons[0] if reasons else None,
        headers={name.title(): value for name, value in headers},
        body=body,
    )


def through_core(receiver: Receiver, knock: Knock) -> Answer:
    with logged_reasons() as reasons:
        try:
            body = knock.body if knock.pieces is None else iter(knock.pieces)
            response = receiver.receive(Request(knock.method, knock.headers, body))
        except DeliveryError:
            return _answer(reasons)
    return _answer(reasons, response.status, response.headers, response.body)


def through_core_async(receiver: Receiver, knock: Knock) -> Answer:
    async def chunks() -> AsyncIterator[bytes]:
        for piece in knock.pieces or [knock.body]:
            yield piece

    with logged_reasons() as reasons:
        request = Request(knock.method, knock.headers, chunks())
        response = asyncio.run(receiver.receive_async(request))
    return _answer(reasons, response.status, response.headers, response.body)


async def asgi_not_found(scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
    raise AssertionError("the middleware let a delivery through")


def asgi_scope(knock: Knock, path: str = PATH) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": knock.method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": knock.query.encode(),
        "root_path": "",
        "headers": [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in knock.headers
        ],
    }


def run_asgi(app: asgi.ASGIApp, scope: dict[str, Any], messages: Iterator[Any]) -> list[Any]:
    """Run one scope to its end and return what the app sent."""
    sent: list[Any] = []

    async def receive() -> Any:
        return next(messages, {"type": "http.disconnect"})

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(cast("Any", app(scope, receive, send)))
    return sent


def through_asgi(receiver: Receiver, knock: Knock) -> Answer:
    app = asgi.KarlaMiddleware(asgi_not_found, receiver)
    whole = {"type": "http.request", "body": knock.body, "more_body": False}
    with logged_reasons() as reasons:
        sent = run_asgi(app, asgi_scope(knock), knock.messages or iter([whole]))
    if not sent:
        return _answer(reasons)
    start, *rest = sent
    headers = [
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"]
    ]
    return _answer(
        reasons, start["status"], headers, b"".join(message.get("body", b"") for message in rest)
    )


class _Input(io.RawIOBase):
    """A body that comes in pieces, as from a socket."""

    def __init__(self, body: bytes, at_most: int) -> None:
        self._body = io.BytesIO(body)
        self._at_most = at_most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        return self._body.readinto(memoryview(buffer)[: self._at_most])


def wsgi_environ(knock: Knock, path: str = PATH) -> dict[str, Any]:
    environ: dict[str, Any] = {
        "REQUEST_METHOD": knock.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": knock.query,
        "SERVER_NAME": "testserver",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_LENGTH": str(len(knock.body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": _Input(knock.body, knock.read_at_most),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in knock.headers:
        key = name.upper().replace("-", "_")
        key = key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{key}"
        # Servers join the lines of a header with a comma.
        earlier = environ.get(key) if key.startswith("HTTP_") else None
        environ[key] = value if earlier is None else f"{earlier},{value}"
    environ.update(knock.environ)
    return {key: value for key, value in environ.items() if value is not None}


def run_wsgi(
    app: wsgi.WSGIApp, environ: dict[str, Any]
) -> tuple[int, list[tuple[str, str]], bytes]:
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
        started.append((status, headers))

    body = app(environ, start_response)
    try:
        content = b"".join(body)
    finally:
        close = getattr(body, "close", None)
        if close is not None:
            close()
    ((status, headers),) = started
    return int(status.split()[0]), headers, content


def wsgi_not_found(environ: wsgi.Environ, start_response: wsgi.StartResponse) -> list[bytes]:
    raise AssertionError("the middleware let a delivery through")


def through_wsgi(receiver: Receiver, knock: Knock) -> Answer:
    app = wsgi.KarlaMiddleware(wsgi_not_found, receiver)
    with logged_reasons() as reasons:
        return _answer(reasons, *run_wsgi(app, wsgi_environ(knock)))


def through_flask(
    receiver: Receiver, knock: Knock, prepare: Callable[[Flask], None] | None = None
) -> Answer:
    app = Flask("shop")

    def nothing(event: Event) -> None:
        """Leave it to the receiver's handlers."""

    app.add_url_rule(
        PATH,
        view_func=webhook(receiver)(nothing),
        methods=[knock.method],
        provide_automatic_options=False,
    )
    if prepare is not None:
        prepare(app)
    with logged_reasons() as reasons:
        return _answer(reasons, *run_wsgi(app, wsgi_environ(knock)))


DOORS: dict[str, Door] = {
    "core": through_core,
    "asgi": through_asgi,
    "wsgi": through_wsgi,
    "flask": through_flask,
}
