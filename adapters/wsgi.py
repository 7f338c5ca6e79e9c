"""WSGI (PEP 3333): a middleware around any app, and an app of its own. Needs no framework."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from typing import Any, Protocol, TypeAlias

from karla_receiver import Event, Receiver, Request, Response
from karla_receiver.errors import Reason, RequestError
from karla_receiver.handlers.calling import is_success
from karla_receiver.request import BodyBuffer, content_length
from karla_receiver.views import check_app, check_receiver
from karla_receiver.views.paths import (
    EVENT,
    HEALTH_PATH,
    HealthCheck,
    require_event,
    webhook_path,
)

__all__ = [
    "Environ",
    "Input",
    "KarlaApp",
    "KarlaMiddleware",
    "StartResponse",
    "WSGIApp",
    "read_chunk",
    "refuse_endless",
    "require_event",
    "to_request",
]

Environ: TypeAlias = dict[str, Any]
StartResponse: TypeAlias = Callable[..., Any]
WSGIApp: TypeAlias = Callable[[Environ, StartResponse], Iterable[bytes]]

_CHUNK_BYTES = 65_536
_ENDLESS = (
    "this server does not set wsgi.input_terminated: have the proxy in front send Content-Length"
    " (nginx: proxy_request_buffering on), or use gunicorn, waitress, mod_wsgi or the ASGI adapter"
)


class KarlaMiddleware:
    """Receives deliveries at one path; hands every other request, untouched, to the app.

    app: the WSGI app to wrap.
    receiver, path, forward: as in `karla_receiver.adapters.asgi`, with SCRIPT_NAME as the mount
    point, and the event in environ["karla.event"].
    Raises ConfigurationError for arguments that can never work.
    """

    def __init__(
        self, app: WSGIApp, receiver: Receiver, path: str | None = None, forward: bool = False
    ) -> None:
        check_app(app, "a WSGI app", "environ", "start_response")
        self._app = app
        self._receiver = check_receiver(receiver)
        self._path = webhook_path(path, receiver, forward)
        self._is_forwarding = forward

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        target = environ.get("RAW_URI") or environ.get("REQUEST_URI") or ""  # two names for it
        root, path = _text(environ, "SCRIPT_NAME"), _text(environ, "PATH_INFO")
        if not self._path.matches(environ["REQUEST_METHOD"], path, root, target):
            return self._app(environ, start_response)
        if self._is_forwarding:
            return self._forward(environ, start_response)
        return _answer(self._receiver.receive(to_request(environ)), start_response)

    def _forward(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        kept = _KeptResponse()

        def view(event: Event) -> int:
            environ[EVENT] = event
            return kept.take(self._app(environ, kept.start_response))

        response = self._receiver.receive(to_request(environ, restore=True), view=view)
        # What is around the app may have failed after it, or discarded the event.
        if kept.body is None or is_success(kept.status) != is_success(response.status):
            return _answer(response, start_response)
        start_response(*kept.start)
        return [kept.body]


class _KeptResponse:
    """An app's response, kept until the app has returned and the body has ended."""

    def __init__(self) -> None:
        self.start: tuple[str, list[tuple[str, str]]] = ("", [])
        self.status = 500
        self.body: bytes | None = None  # None: there is no whole response
        self._parts: list[bytes] = []

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: object = None
    ) -> Callable[[bytes], object]:
        # It may be another response, after an error: of the first one nothing has been sent.
        self.start = (status, list(headers))
        self._parts.clear()
        return self._parts.append

    def take(self, body: Iterable[bytes]) -> int:
        """Iterate the body to its end, and return the status: 500 if the app has stated none."""
        try:
            for part in body:
                self._parts.append(part)
        finally:
            getattr(body, "close", lambda: None)()
        code = self.start[0][:3]
        if code.isdecimal():
            self.status, self.body = int(code), b"".join(self._parts)
        return self.status


class KarlaApp:
    """Receives a delivery with every request: to be served alone, or mounted at a path.

    receiver, health: as in `karla_receiver.adapters.asgi`.
    Raises ConfigurationError for arguments that can never work.
    """

    def __init__(self, receiver: Receiver, health: str | None = HEALTH_PATH) -> None:
        self._receiver = check_receiver(receiver)
        self._health = HealthCheck(health)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        answer = self._health.answer(environ["REQUEST_METHOD"], _text(environ, "PATH_INFO"))
        return _answer(answer or self._receiver.receive(to_request(environ)), start_response)


def _text(environ: Environ, key: str) -> str:
    text: str = environ.get(key, "")
    if not text.isascii():  # bytes, one a code point
        return text.encode("latin-1", "replace").decode("utf-8", "surrogateescape")
    return text


class Input(Protocol):
    def read(self, size: int, /) -> bytes: ...


def to_request(environ: Environ, *, restore: bool = False) -> Request:
    """Make a Request whose body is read from wsgi.input when the receiver asks for it.

    restore: once it is read, put the body back, for an app behind to read as if untouched.
    """
    headers = [
        (name, environ[key])
        for name, key in (
            ("karla-signature", "HTTP_KARLA_SIGNATURE"),
            ("content-length", "CONTENT_LENGTH"),
        )
        if key in environ
    ]
    chunks = _restoring_chunks(environ) if restore else _chunks(environ)
    return Request(environ["REQUEST_METHOD"], headers, chunks, environ["wsgi.url_scheme"])


def _restoring_chunks(environ: Environ) -> Iterator[bytes]:
    kept = BodyBuffer()
    for chunk in _chunks(environ):
        kept.add(chunk)
        yield chunk
    environ["wsgi.input"] = BytesIO(kept.body)


def _chunks(environ: Environ) -> Iterator[bytes]:
    length = content_length([environ.get("CONTENT_LENGTH") or ""])
    if length is None and not environ.get("wsgi.input_terminated"):
        refuse_endless(environ)
        return  # no body: PEP 3333
    stream: Input = environ["wsgi.input"]
    while length is None or length > 0:
        chunk = read_chunk(stream, _CHUNK_BYTES if length is None else length)
        if not chunk:
            break
        if length is not None:
            length -= len(chunk)
        yield chunk
    if length:
        # gunicorn and granian call the app even if the client stopped half-way.
        raise RequestError(Reason.BODY_INCOMPLETE, f"{length} bytes are missing")


def refuse_endless(environ: Environ) -> None:
    """Raise RequestError with length_required if there is a body, and nothing tells its end."""
    if environ.get("CONTENT_LENGTH") or environ.get("wsgi.input_terminated"):
        return
    # HTTP/2 and HTTP/3 need neither header.
    is_newer = environ.get("SERVER_PROTOCOL", "").startswith(("HTTP/2", "HTTP/3"))
    if is_newer or environ.get("HTTP_TRANSFER_ENCODING"):
        raise RequestError(Reason.LENGTH_REQUIRED, _ENDLESS)


def read_chunk(stream: Input, size: int) -> bytes:
    """Read at most size bytes. Raises RequestError with body_incomplete if the stream is broken."""
    try:
        return stream.read(size)[:size]  # not every stream keeps to what it was asked for
    except Exception as error:  # noqa: BLE001 - each server has classes of its own for this
        raise RequestError(Reason.BODY_INCOMPLETE, type(error).__name__) from None


def _answer(response: Response, start_response: StartResponse) -> Iterable[bytes]:
    start_response(f"{response.status} {response.phrase}", list(response.headers))
    return [response.body]
