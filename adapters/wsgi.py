"""WSGI (PEP 3333): a middleware around any app, and an app of its own. Needs no framework."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from typing import Any, Protocol, TypeAlias

from karla_receiver import Event, Receiver, Request, Response
from karla_receiver.body import BodyBuffer
from karla_receiver.errors import Reason, RequestError
from karla_receiver.mounting import (
    DEFAULT_PATH,
    checked_path,
    has_encoded_slash,
    may_lead_to,
    path_names,
)
from karla_receiver.options import checked_bool
from karla_receiver.request import content_length
from karla_receiver.wiring import check_app, check_receiver

__all__ = [
    "Environ",
    "Input",
    "KarlaApp",
    "KarlaMiddleware",
    "StartResponse",
    "WSGIApp",
    "read_chunk",
    "to_request",
]

Environ: TypeAlias = dict[str, Any]
StartResponse: TypeAlias = Callable[..., Any]
WSGIApp: TypeAlias = Callable[[Environ, StartResponse], Iterable[bytes]]

_CHUNK_BYTES = 65_536


class KarlaMiddleware:
    """Receives deliveries at one path; hands every other request, untouched, to the app.

    app: the WSGI app to wrap.
    path: compared exactly, below the SCRIPT_NAME that the middleware is mounted at.
    receiver, forward: as in `karla_receiver.adapters.asgi`, with the event in
    environ["karla.event"].
    Raises ConfigurationError for arguments that can never work.
    """

    def __init__(
        self,
        app: WSGIApp,
        receiver: Receiver,
        path: str = DEFAULT_PATH,
        forward: bool = False,
    ) -> None:
        check_app(app, "a WSGI app", "environ", "start_response")
        self._app = app
        self._receiver = check_receiver(receiver)
        # PATH_INFO holds the path's bytes, one a code point.
        self._path = checked_path(path).encode().decode("latin-1")
        self._names = path_names(path.encode())
        self._forward = checked_bool("forward", forward)
        if forward:
            receiver.want("*")

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        if not self._is_ours(environ):
            return self._app(environ, start_response)
        if self._forward:
            return self._serve_and_forward(environ, start_response)
        return _answer(self._receiver.receive(to_request(environ)), start_response)

    def _is_ours(self, environ: Environ) -> bool:
        path: str = environ.get("PATH_INFO", "")
        # Where the server tells how the path was written: RAW_URI is gunicorn's and werkzeug's
        # name for it, REQUEST_URI everybody else's.
        is_exact = path == self._path and not has_encoded_slash(
            environ.get("RAW_URI") or environ.get("REQUEST_URI") or ""
        )
        return is_exact or (self._forward and self._may_reach_the_view(environ))

    def _may_reach_the_view(self, environ: Environ) -> bool:
        path, root = (
            environ.get(name, "").encode("latin-1", "replace")
            for name in ("PATH_INFO", "SCRIPT_NAME")
        )
        return may_lead_to(self._names, path, root)

    def _serve_and_forward(
        self, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        answers: list[Iterable[bytes]] = []
        errors: list[Exception] = []
        statuses: list[str] = []

        def start(status: str, *rest: Any) -> Any:
            statuses.append(status)
            return start_response(status, *rest)

        def forward(event: Event) -> int:
            environ["karla.event"] = event
            try:
                answers.append(_completed(self._app(environ, start)))
            except Exception as raised:
                errors.append(raised)
                raise
            return _code(statuses)

        response = self._receiver.receive(to_request(environ, restore=True), view=forward)
        if errors:
            raise errors[0]
        return answers[0] if answers else _answer(response, start_response)


def _completed(response: Iterable[bytes]) -> list[bytes]:
    """Iterate a response to its end: whatever the app does on the way counts as handling."""
    try:
        return list(response)
    finally:
        close = getattr(response, "close", None)
        if close is not None:
            close()


def _code(statuses: list[str]) -> int:
    # The last one counts: an app may start another response after an error (PEP 3333).
    code = statuses[-1][:3] if statuses else ""
    return int(code) if code.isdecimal() else 500


class KarlaApp:
    """Receives a delivery with every request: to be served alone, or mounted at a path.

    receiver: verifies, and calls its handlers.
    Raises ConfigurationError if receiver is not a Receiver.
    """

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = check_receiver(receiver)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        return _answer(self._receiver.receive(to_request(environ)), start_response)


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
        return  # reading on could block for ever: PEP 3333 gives such a body no end
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


def read_chunk(stream: Input, size: int) -> bytes:
    """Read at most size bytes. Raises RequestError with body_incomplete if the stream is broken."""
    try:
        return stream.read(size)[:size]  # not every stream keeps to what it was asked for
    except Exception as error:  # noqa: BLE001 - each server has classes of its own for this
        raise RequestError(Reason.BODY_INCOMPLETE, type(error).__name__) from None


def _answer(response: Response, start_response: StartResponse) -> Iterable[bytes]:
    start_response(f"{response.status} {response.phrase}", list(response.headers))
    return [response.body]
