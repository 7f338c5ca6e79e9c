"""The doors of a receiver that need no framework, and one way to knock at all doors."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from karla_receiver import Event, Receiver, Request
from karla_receiver.adapters import asgi, wsgi
from karla_receiver.errors import DeliveryError
from karla_receiver.testing import clients
from karla_receiver.testing.answers import logged_reasons
from karla_receiver.testing.deliveries import Delivery
from karla_receiver.views.paths import DEFAULT_PATH as PATH
from tests.server_loop import run_on_server
from tests.signing import BODY, SECRET, signature_header

__all__ = [
    "DOORS",
    "ENDPOINTS",
    "PATH",
    "Answer",
    "Door",
    "Handler",
    "Knock",
    "asgi_not_found",
    "asgi_scope",
    "logged_reasons",
    "run_asgi",
    "run_wsgi",
    "signed_knock",
    "through_asgi",
    "through_core",
    "through_core_async",
    "through_wsgi",
    "wsgi_environ",
    "wsgi_not_found",
]

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
    # WSGI only, and what is built on it.
    environ: dict[str, Any] = field(default_factory=dict[str, Any])
    read_at_most: int = 1 << 30

    @property
    def delivery(self) -> Delivery:
        """The same, for the package's own clients."""
        return Delivery(
            method=self.method, headers=tuple(self.headers), body=self.body, query=self.query
        )


def signed_knock(
    signed_body: bytes = BODY,
    /,
    secret: str = SECRET,
    *,
    timestamp: int | None = None,
    **fields: Any,
) -> Knock:
    """Return the request that Karla would send. fields: what it has instead."""
    signature = signature_header(signed_body, secret, timestamp=timestamp)
    headers = [*signature.items(), ("Content-Type", "application/json")]
    given: dict[str, Any] = {"headers": headers, "body": signed_body, **fields}
    return Knock(**given)


@dataclass(kw_only=True)
class Answer:
    """What came back. status: None if no answer was sent; reason: of the log's line."""

    status: int | None
    reason: str | None
    headers: dict[str, str]
    body: bytes


Door: TypeAlias = Callable[[Receiver, Knock], Answer]


def answer_of(
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
            return answer_of(reasons)
    return answer_of(reasons, response.status, response.headers, response.body)


def through_core_async(receiver: Receiver, knock: Knock) -> Answer:
    async def chunks() -> AsyncIterator[bytes]:
        for piece in knock.pieces or [knock.body]:
            yield piece

    with logged_reasons() as reasons:
        request = Request(knock.method, knock.headers, chunks())
        response = run_on_server(receiver.receive_async(request))
    return answer_of(reasons, response.status, response.headers, response.body)


async def asgi_not_found(scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
    raise AssertionError("the middleware let a delivery through")


def asgi_scope(knock: Knock, path: str = PATH) -> dict[str, Any]:
    return clients.asgi_scope(knock.delivery, path)


def run_asgi(app: asgi.ASGIApp, scope: dict[str, Any], messages: Iterator[Any]) -> list[Any]:
    """Run one scope to its end and return what the app sent."""
    return run_on_server(clients.exchange_asgi(app, scope, messages, stays=False))


def through_asgi(receiver: Receiver, knock: Knock) -> Answer:
    return _through_asgi(asgi.KarlaMiddleware(asgi_not_found, receiver), knock)


def _through_asgi(app: asgi.ASGIApp, knock: Knock) -> Answer:
    whole = {"type": "http.request", "body": knock.body, "more_body": False}
    with logged_reasons() as reasons:
        sent = run_asgi(app, asgi_scope(knock), knock.messages or iter([whole]))
    if not sent:
        return answer_of(reasons)
    start, *rest = sent
    headers = [
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"]
    ]
    return answer_of(
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
    environ = clients.wsgi_environ(knock.delivery, path)
    environ["wsgi.input"] = _Input(knock.body, knock.read_at_most)
    environ.update(knock.environ)
    return {key: value for key, value in environ.items() if value is not None}


def run_wsgi(
    app: wsgi.WSGIApp, environ: dict[str, Any]
) -> tuple[int, list[tuple[str, str]], bytes]:
    answer = clients.exchange_wsgi(app, environ)
    return answer.status, list(answer.headers), answer.body


def wsgi_not_found(environ: wsgi.Environ, start_response: wsgi.StartResponse) -> list[bytes]:
    raise AssertionError("the middleware let a delivery through")


def through_wsgi(receiver: Receiver, knock: Knock) -> Answer:
    return _through_wsgi(wsgi.KarlaMiddleware(wsgi_not_found, receiver), knock)


def _through_wsgi(app: wsgi.WSGIApp, knock: Knock) -> Answer:
    with logged_reasons() as reasons:
        return answer_of(reasons, *run_wsgi(app, wsgi_environ(knock)))


DOORS: dict[str, Door] = {
    "core": through_core,
    "asgi": through_asgi,
    "wsgi": through_wsgi,
}
# Every way to mount a receiver without a framework.
ENDPOINTS: dict[str, Door] = {
    "core": through_core,
    "core async": through_core_async,
    "asgi middleware": through_asgi,
    "asgi app": lambda receiver, knock: _through_asgi(asgi.KarlaApp(receiver), knock),
    "wsgi middleware": through_wsgi,
    "wsgi app": lambda receiver, knock: _through_wsgi(wsgi.KarlaApp(receiver), knock),
}
