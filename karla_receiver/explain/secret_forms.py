"""What the right secret may be, given one that is configured a little wrongly."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from karla_receiver.explain.causes import Change, Code
from karla_receiver.signature.keys import Key

__all__ = ["KeyForm", "forms"]

# Blanks that strip() leaves: of no width, and the byte order mark that editors put in front.
_INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060"
_QUOTES = {'"': '"', "'": "'", "`": "`", "<": ">", "\u201c": "\u201d", "\u2018": "\u2019"}
_LINE = re.compile(rb"(?:export\s+)?[A-Za-z_][A-Za-z0-9_]*\s*[=:]\s*(\S.*)", re.DOTALL)


class KeyForm(NamedTuple):
    """A key to try, and what makes it differ from the secret as given (None: nothing)."""

    change: Change | None
    key: Key


def forms(secret: bytes, name: str) -> Iterator[KeyForm]:
    """Yield the secret as given, then what it may have been meant to be.

    name: how evidence calls the secret, as in `secret 1`.
    """
    yield KeyForm(None, Key(secret))
    seen = {secret}
    for code, what, form in _meant(secret):
        if form and form not in seen:
            seen.add(form)
            yield KeyForm(Change(code, f"{name}, {what}"), Key(form))


def _meant(secret: bytes) -> Iterator[tuple[Code, str, bytes]]:
    bare = _stripped(secret)
    yield Code.SECRET_BLANKS, "without the blanks or newline around it", bare
    unquoted = _unquoted(bare)
    yield Code.SECRET_QUOTED, "without the quotes around it", unquoted
    line = _LINE.fullmatch(unquoted)
    if line is not None:
        value = _unquoted(_stripped(line[1]))
        yield Code.SECRET_LINE, "without the variable's name in front", value
    yield from _decoded(unquoted)
    yield from _encoded(unquoted)
    yield Code.SECRET_URL_ENCODED, "URL-decoded", unquote_to_bytes(unquoted)
    yield Code.SECRET_CASE, "in lower case", unquoted.lower()
    yield Code.SECRET_CASE, "in upper case", unquoted.upper()
    for end in (b"\n", b"\r\n", b" "):
        what = f"with {end.decode()!r} at the end"
        yield Code.SECRET_REGISTERED_WITH_BLANKS, what, bare + end
    for quote in ('"', "'"):
        quoted = quote.encode() + bare + quote.encode()
        yield Code.SECRET_REGISTERED_WITH_BLANKS, "with quotes around it", quoted


def _stripped(secret: bytes) -> bytes:
    bare = secret.strip()
    for literal in (b"\\n", b"\\r"):
        bare = bare.removesuffix(literal)
    text = bare.decode(errors="surrogateescape")
    return text.strip().strip(_INVISIBLE).encode(errors="surrogateescape")


def _unquoted(secret: bytes) -> bytes:
    text = secret.decode(errors="surrogateescape")
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1]:
        return _stripped(text[1:-1].encode(errors="surrogateescape"))
    return secret


def _decoded(secret: bytes) -> Iterator[tuple[Code, str, bytes]]:
    for marks in (b"+/", b"-_"):
        try:
            decoded = base64.b64decode(secret + b"=" * (-len(secret) % 4), marks, validate=True)
        except binascii.Error:
            continue
        yield Code.SECRET_BASE64, "decoded from base64", decoded
        yield Code.SECRET_BASE64, "decoded from base64, without the newline in it", decoded.strip()
    try:
        yield Code.SECRET_HEX, "decoded from hex", binascii.unhexlify(secret.replace(b"-", b""))
    except binascii.Error:
        return


def _encoded(secret: bytes) -> Iterator[tuple[Code, str, bytes]]:
    encoded = base64.b64encode(secret)
    yield Code.SECRET_DECODED, "encoded in base64", encoded
    yield Code.SECRET_DECODED, "encoded in base64 without padding", encoded.rstrip(b"=")
    yield Code.SECRET_DECODED, "encoded in base64 for URLs", base64.urlsafe_b64encode(secret)
    yield Code.SECRET_DECODED, "encoded in hex", secret.hex().encode()
