"""A request as every adapter hands it over: method, headers, body and scheme, of no framework."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, cast

import msgspec
from msgspec.structs import force_setattr

from karla_receiver.body import checked_body
from karla_receiver.errors import Reason, RequestError

__all__ = ["Body", "Headers", "Request", "content_length", "relevant_headers"]

Headers: TypeAlias = Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]
Body: TypeAlias = bytes | Iterable[bytes] | AsyncIterable[bytes]


# Tuples, not unions: those would be made anew for each request.
_PAIRS = (list, tuple)
_LASTING = (Mapping, *_PAIRS)
_CHUNKS = (Iterable, AsyncIterable)
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
    # A str and a dict are iterable too, but of no chunks.
    return isinstance(body, _CHUNKS) and not isinstance(body, _NO_CHUNKS)


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
