"""What comes in and what goes out: a request, its body up to a limit, and a response."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias, cast

import msgspec
from msgspec.structs import force_setattr

from karla_receiver.checks import checked_body
from karla_receiver.errors import STATUS, Reason, RequestError

__all__ = [
    "REFUSALS",
    "SUCCESS",
    "Body",
    "BodyBuffer",
    "Headers",
    "Request",
    "Response",
    "content_length",
    "relevant_headers",
    "retry_later",
]

Headers: TypeAlias = Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]
Body: TypeAlias = bytes | Iterable[bytes] | AsyncIterable[bytes]


# Tuples, not unions: those would be made anew for each request.
_PAIRS = (list, tuple)
_LASTING = (Mapping, *_PAIRS)
_NO_CHUNKS = (str, Mapping)


class Request(msgspec.Struct, frozen=True, eq=False):
    """One HTTP request.

    method: as received, upper case.
    headers: a mapping, or pairs of name and value; names in any case, str or bytes (a str holds
    one code point per byte, as in WSGI).
    body: the raw bytes; or an iterable of chunks, which is read only when method, size and
    header have passed, and no further than the size limit. `Receiver.receive_async` takes an
    asynchronous iterable too.
    scheme: "http" or "https", as the sender used it; only `require_https` looks at it.
    Raises TypeError for a body that is text or was parsed, and for headers that are neither.
    """

    method: str
    headers: Headers
    body: Body
    scheme: str = "http"

    def __post_init__(self) -> None:
        if type(self.body) is not bytes and not _is_chunks(self.body):
            checked_body(self.body)
        if type(self.headers) is not list and not isinstance(self.headers, _LASTING):
            # They are looked through more than once, which an iterator does not survive.
            force_setattr(self, "headers", _listed(self.headers))

    def __repr__(self) -> str:
        # Neither body nor headers: they hold personal data and a live signature.
        return f"<Request {self.method[:20]!a} over {self.scheme[:10]!a}>"


def _is_chunks(body: object) -> bool:
    # Not isinstance, which takes ten times as long.
    if hasattr(body, "__aiter__"):
        return True
    # A str and a dict are iterable too, but of no chunks.
    return hasattr(body, "__iter__") and not isinstance(body, _NO_CHUNKS)


def _listed(headers: object) -> list[tuple[str | bytes, str | bytes]]:
    items = getattr(headers, "items", None)  # of an email.message.Message, as http.client has it
    pairs = items() if callable(items) else headers
    if isinstance(pairs, str | bytes) or not isinstance(pairs, Iterable):
        raise _no_headers(headers)
    return list(cast("Iterable[tuple[str | bytes, str | bytes]]", pairs))


class RelevantHeaders(NamedTuple):
    """The values of the two headers that matter, of all their lines."""

    signature: list[str | bytes]
    content_length: list[str | bytes]

    def __repr__(self) -> str:
        return f"<RelevantHeaders with {len(self.signature)} signature lines>"


# Half the cost of calling the class.
_new_relevant: Callable[..., RelevantHeaders] = cast("Any", tuple).__new__


def relevant_headers(headers: Headers) -> RelevantHeaders:
    """Pick the headers that matter, in one pass.

    Raises TypeError for headers that are not what `Request` takes.
    """
    signature: list[str | bytes] = []
    lengths: list[str | bytes] = []
    try:
        for key, value in _pairs(headers):
            length = len(key)
            if length == 14 or length == 15:
                name = (key.decode("latin-1") if isinstance(key, bytes) else key).lower()
                if name == "karla-signature":
                    signature.append(value)
                elif name == "content-length":
                    lengths.append(value)
    except (AttributeError, TypeError, ValueError):
        raise _no_headers(headers) from None
    return _new_relevant(RelevantHeaders, (signature, lengths))


def _pairs(headers: Headers) -> Iterable[tuple[str | bytes, str | bytes]]:
    if isinstance(headers, _PAIRS):
        return cast("list[tuple[str | bytes, str | bytes]]", headers)
    return cast("Mapping[str, str]", headers).items()


def _no_headers(headers: object) -> TypeError:
    return TypeError(
        f"headers must be a mapping or pairs of name and value, not {type(headers).__name__}"
    )


def content_length(values: Sequence[str | bytes]) -> int | None:
    """Return the length that a request declares, in bytes; None if it declares none.

    values: of the Content-Length header's lines; an empty one counts as absent (PEP 3333).
    Raises RequestError with bad_content_length unless they are one decimal number (RFC 9110,
    8.6), of whatever size.
    """
    digits: str | bytes | None
    if len(values) == 1 and values[0].isascii() and values[0].isdigit():
        digits = values[0]
    else:
        digits = _single(
            [each if isinstance(each, str) else each.decode("latin-1") for each in values]
        )
        if digits is None:
            return None
    # Reading a million digits costs seconds; beyond 18 they are over any limit anyway.
    return int(digits) if len(digits) <= 18 else sys.maxsize


def _single(texts: list[str]) -> str | None:
    different = set(texts) - {""}
    if not different:
        return None
    text = different.pop()
    # isdigit() alone lets through other scripts' digits and superscripts.
    if different or not (text.isascii() and text.isdigit()):
        raise RequestError(Reason.BAD_CONTENT_LENGTH, "Content-Length is not one decimal number")
    return text


class BodyBuffer:
    """Joins the chunks of one body and refuses the one that passes the limit.

    A single chunk is kept as it is, so that the usual request is never copied.
    limit: in bytes; none if left out.
    body: the bytes so far; a bytearray if they came in several chunks.
    """

    __slots__ = ("_limit", "body")

    def __init__(self, limit: int = sys.maxsize) -> None:
        self._limit = limit
        self.body: bytes = b""

    def add(self, chunk: bytes | bytearray | memoryview[Any]) -> None:
        """Add a chunk. Raises RequestError with body_too_large beyond the limit."""
        if type(chunk) is not bytes:
            chunk = bytes(checked_body(chunk))  # its owner may fill it again
        if len(self.body) + len(chunk) > self._limit:
            raise RequestError(Reason.BODY_TOO_LARGE, f"more than {self._limit} bytes")
        if not self.body:
            self.body = chunk
        elif chunk:
            if type(self.body) is bytes:
                self.body = cast("bytes", bytearray(self.body))
            self.body += chunk


_RETRY_AFTER_SECONDS = 5
_EXTRA_HEADERS: Final[Mapping[Reason, tuple[tuple[str, str], ...]]] = {
    Reason.METHOD_NOT_ALLOWED: (("allow", "POST"),),
    Reason.IN_PROGRESS: (("retry-after", str(_RETRY_AFTER_SECONDS)),),
    Reason.RETRY_LATER: (("retry-after", str(_RETRY_AFTER_SECONDS)),),
    Reason.UNAVAILABLE: (("retry-after", str(_RETRY_AFTER_SECONDS)),),
}


class Response(msgspec.Struct, frozen=True):
    """What to answer.

    headers: pairs of lower-case name and value, Content-Type and Content-Length included.
    reason: why it is a refusal, for logs and metrics; None for success. For a 401 it is not
    in the body.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    reason: Reason | None = None

    @property
    def phrase(self) -> str:
        """The status's standard phrase, as in `Bad Request`."""
        return HTTPStatus(self.status).phrase

    def without_body(self) -> Response:
        """Return the same answer for HEAD: all headers, no body (RFC 9110, 9.3.2)."""
        return msgspec.structs.replace(self, body=b"")


def _response(
    status: int,
    content_type: str,
    content: Mapping[str, object],
    reason: Reason | None = None,
) -> Response:
    body = msgspec.json.encode(content)
    headers = (("content-type", content_type), ("content-length", str(len(body))))
    extra = () if reason is None else _EXTRA_HEADERS.get(reason, ())
    return Response(status, headers + extra, body, reason)


def _refusal(reason: Reason, status: int) -> Response:
    # RFC 9457; without a type, the title is the status's phrase.
    problem: dict[str, object] = {"title": HTTPStatus(status).phrase, "status": status}
    if status != HTTPStatus.UNAUTHORIZED:
        # A stranger who tries signatures must not learn how far one came.
        problem["reason"] = reason
    return _response(status, "application/problem+json", problem, reason)


# Karla looks at the status; the body is the one that its own receiver answers with.
SUCCESS: Final = _response(200, "application/json", {"status": "success"})

REFUSALS: Final[Mapping[Reason, Response]] = MappingProxyType(
    {reason: _refusal(reason, status) for reason, status in STATUS.items() if status is not None}
)


def retry_later(seconds: int) -> Response:
    """Return the refusal for a handler that asked for a later try, in so many seconds."""
    usual = REFUSALS[Reason.RETRY_LATER]
    headers = [
        ("retry-after", str(seconds)) if name == "retry-after" else (name, value)
        for name, value in usual.headers
    ]
    return msgspec.structs.replace(usual, headers=tuple(headers))
