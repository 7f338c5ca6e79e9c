"""What the right secret may be, given one that is configured a little wrongly."""

from __future__ import annotations

import base64
import binascii
import html
import re
from collections.abc import Iterator
from typing import Final, TypeAlias
from urllib.parse import unquote_to_bytes
from uuid import UUID

from karla_receiver.explain.causes import Change, Code

__all__ = ["Form", "forms"]

# What is undone, and the secret that this leaves.
Form: TypeAlias = tuple[tuple[Change, ...], bytes]
_Step: TypeAlias = tuple[Code, str, bytes]

_DEPTH: Final = 3
_MAX_PARTS: Final = 8
_PREFIX: Final = b"whsec_"
# Blanks that strip() leaves: of no width, and the byte order mark that editors put in front.
_INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060"
_QUOTES = "\"'`<>[]{}()\u201c\u201d\u201e\u2018\u2019\u201a"
_TYPE = re.compile(r"(?:b|UUID\()(?=['\"])")
_NAME = re.compile(rb"(?:export\s+)?[A-Za-z_][A-Za-z0-9_]*\s*[=:]\s*(?=\S)")
_COMMENT = re.compile(rb"\s+(?:#|//).*", re.DOTALL)
_UUID = re.compile(rb"[0-9a-f]{32}")
_BETWEEN = re.compile(rb"[,;\s]+")


def forms(secret: bytes, name: str) -> Iterator[Form]:
    """Yield the secret as given, then what it may have been meant to be.

    name: how evidence calls the secret, as in `secret 1`.
    """
    yield (), secret
    bare = _stripped(secret)
    seen = {b"", secret, bare}
    if bare != secret:
        what = "without the blanks or newline around it"
        yield (Change(Code.SECRET_BLANKS, f"{name}, {what}"),), bare
    peeled: list[Form] = [((), bare)]
    for changes, form in peeled:  # which grows meanwhile
        for code, what, inner in _peeled(form) if len(changes) < _DEPTH else ():
            undone = (*changes, Change(code, f"{name}, {what}"))
            for each in (inner, _stripped(inner)):
                if each not in seen:
                    seen.add(each)
                    peeled.append((undone, each))
                    yield peeled[-1]
    for changes, form in peeled:
        if all(change.code == Code.SECRET_QUOTED for change in changes):
            for code, what, other in _respelled(form):
                if other not in seen:
                    seen.add(other)
                    yield (*changes, Change(code, f"{name}, {what}")), other


def _peeled(secret: bytes) -> Iterator[_Step]:
    """Yield what is left of secret once something around it is taken away."""
    if "\ufffd" in secret.decode(errors="replace"):
        return  # the bytes of a key: nothing is around them
    yield Code.SECRET_QUOTED, "without the quotes around it", _unquoted(secret)
    value = _NAME.sub(b"", secret, 1)
    for line in (value, _COMMENT.sub(b"", value)):
        if line != secret:
            yield Code.SECRET_LINE, "without the name or comment beside it", _unquoted(line)
    parts = [part for part in _BETWEEN.split(secret) if part][:_MAX_PARTS]
    for number, part in enumerate(parts, 1):
        if part != secret:
            yield Code.SECRET_LIST, f"part {number} of it", part
    if secret.startswith(_PREFIX):
        yield Code.SECRET_ENCODED, "without whsec_ in front", secret.removeprefix(_PREFIX)
    yield from _decoded(secret)


def _respelled(secret: bytes) -> Iterator[_Step]:
    """Yield what secret may have been made from, or be registered as."""
    encoded = base64.b64encode(secret)
    yield Code.SECRET_RESPELLED, "encoded in base64", encoded
    yield Code.SECRET_RESPELLED, "encoded in base64 without padding", encoded.rstrip(b"=")
    yield Code.SECRET_RESPELLED, "encoded in base64 for URLs", base64.urlsafe_b64encode(secret)
    yield Code.SECRET_RESPELLED, "encoded in hex", secret.hex().encode()
    yield Code.SECRET_RESPELLED, "with whsec_ in front", _PREFIX + secret
    spellings = {"lower case": secret.lower(), "upper case": secret.upper()}
    digits = secret.replace(b"-", b"").lower()
    if _UUID.fullmatch(digits):
        spellings["lower case, without hyphens"] = digits
        spellings["lower case, with hyphens"] = str(UUID(digits.decode())).encode()
    for spelling, form in spellings.items():
        yield Code.SECRET_RESPELLED, f"in {spelling}", form
    code = Code.SECRET_REGISTERED_WITH_BLANKS
    for end in (b"\n", b"\r\n", b" "):
        yield code, f"with {end.decode()!r} at the end", secret + end
    for quote in (b'"', b"'"):
        yield code, "with quotes around it", quote + secret + quote


def _stripped(secret: bytes) -> bytes:
    bare = secret.strip()
    for literal in (b"\\n", b"\\r"):
        bare = bare.removesuffix(literal)
    text = bare.decode(errors="surrogateescape")
    return text.strip().strip(_INVISIBLE).encode(errors="surrogateescape")


def _unquoted(secret: bytes) -> bytes:
    text = _TYPE.sub("", secret.decode(errors="surrogateescape"), 1)
    return _stripped(text.strip(_QUOTES).encode(errors="surrogateescape"))


def _decoded(secret: bytes) -> Iterator[_Step]:
    for marks in (b"+/", b"-_"):
        try:
            decoded = base64.b64decode(secret + b"=" * (-len(secret) % 4), marks, validate=True)
        except binascii.Error:
            continue
        yield Code.SECRET_ENCODED, "decoded from base64", decoded
    try:
        decoded = binascii.unhexlify(secret.replace(b"-", b""))
    except binascii.Error:
        pass
    else:
        yield Code.SECRET_ENCODED, "decoded from hex", decoded
    yield Code.SECRET_ENCODED, "URL-decoded", unquote_to_bytes(secret)
    text = html.unescape(secret.decode(errors="surrogateescape"))
    yield Code.SECRET_ENCODED, "decoded from HTML", text.encode(errors="surrogateescape")
