"""A request as every adapter hands it over: method, headers, body and scheme, of no framework."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterable, Iterable, Mapping
from typing import TypeAlias, cast

import msgspec
from msgspec.structs import force_setattr

from karla_receiver.body import checked_body
from karla_receiver.errors import Reason, RequestError

__all__ = ["Body", "Headers", "Request", "content_length", "header_values"]

Headers: TypeAlias = Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]
Body: TypeAlias = bytes | Iterable[bytes] | AsyncIterable[bytes]


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
        if not isinstance(self.headers, Mapping | list | tuple):
            # They are looked through more than once, which an iterator does not survive.
            force_setattr(self, "headers", _listed(self.headers))

    def __repr__(self) -> str:
        # Neither body nor headers: they hold personal data and a live signature.
        return f"<Request {self.method[:20]!a} over {self.scheme[:10]!a}>"


def _is_chunks(body: object) -> bool:
    # A str and a dict are iterable too, but of no chunks.
    return isinstance(body, Iterable | AsyncIterable) and not isinstance(body, str | Mapping)


def _listed(headers: object) -> list[tuple[str | bytes, str | bytes]]:
    items = getattr(headers, "items", None)  # of an email.message.Message, as http.client has it
    pairs = items() if callable(items) else headers
    if isinstance(pairs, str | bytes) or not isinstance(pairs, Iterable):
        raise _no_headers(headers)
    return list(cast("Iterable[tuple[str | bytes, str | bytes]]", pairs))


def header_values(headers: Headers, name: str) -> list[str | bytes]:
    """Return the values of all lines of one header; name is in lower case.

    Raises TypeError for headers that are not what `Request` takes.
    """
    encoded = name.encode()
    try:
        return [
            value
            for key, value in _pairs(headers)
            if key.lower() == (encoded if isinstance(key, bytes) else name)
        ]
    except (AttributeError, TypeError, ValueError):
        raise _no_headers(headers) from None


def _no_headers(headers: object) -> TypeError:
    return TypeError(
        f"headers must be a mapping or pairs of name and value, not {type(headers).__name__}"
    )


def _pairs(headers: Headers) -> Iterable[tuple[str | bytes, str | bytes]]:
    if isinstance(headers, Mapping):
        return cast("Mapping[str, str]", headers).items()
    return headers


def content_length(values: Iterable[str | bytes]) -> int | None:
    """Return the length that a request declares, in bytes; None if it declares none.

    values: of the Content-Length header's lines; an empty one counts as absent (PEP 3333).
    Raises RequestError with bad_content_length unless they are one decimal number (RFC 9110,
    8.6), of whatever size.
    """
    texts = {value if isinstance(value, str) else value.decode("latin-1") for value in values}
    texts.discard("")
    if not texts:
        return None
    text = texts.pop()
    # isdigit() alone lets through other scripts' digits and superscripts.
    if texts or not (text.isascii() and text.isdigit()):
        raise RequestError(Reason.BAD_CONTENT_LENGTH, "Content-Length is not one decimal number")
    # Reading a million digits costs seconds; beyond 18 they are over any limit anyway.
    return int(text) if len(text) <= 18 else sys.maxsize
