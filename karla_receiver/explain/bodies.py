"""What a body may have been before something on its way changed it."""

from __future__ import annotations

import base64
import binascii
import re
import warnings
import zlib
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias
from urllib.parse import unquote_to_bytes

from karla_receiver.explain import json_styles
from karla_receiver.explain.causes import Change, Code

__all__ = ["Candidates", "Changes", "framed", "originals", "unchanged"]

Changes: TypeAlias = tuple[Change | Callable[[], Change], ...]
Candidates: TypeAlias = Iterator[tuple[Changes, bytes]]
_Undo: TypeAlias = Callable[[bytes], Iterator[tuple[Change, bytes]]]

_MAX_UNPACKED_BYTES = 16 * 1_048_576
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{8,}={0,2}\s*")
_BYTES_REPR = re.compile(rb"""b(['"])(.+)\1""", re.DOTALL)
_PYTHON_TOKEN = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\b(?:True|False|None)\b""")


def unchanged(body: bytes) -> Candidates:
    """Yield the body as it came."""
    yield (), body


def framed(body: bytes) -> Candidates:
    """Yield the body, and what a program makes of it that puts bytes into a text to sign."""
    yield (), body
    yield (), repr(body).encode()


def originals(body: bytes, *, with_numbers: bool = True) -> Candidates:
    """Yield what body may have been: one change undone, then JSON styles, then two changes.

    with_numbers: write 20 as 20.0 and the other way round too.
    """
    once = [((change,), original) for change, original in _undone(body)]
    yield from once
    yield from _json_originals(body, (), with_numbers)
    for changes, original in once:
        if changes[0].code in _UNPACKING:
            yield from _json_originals(original, changes, with_numbers=False)
        for change, twice in _undone(original):
            yield (*changes, change), twice


def _undone(body: bytes) -> Iterator[tuple[Change, bytes]]:
    for undo in _UNDOES:
        yield from undo(body)


def _json_originals(body: bytes, changes: tuple[Change, ...], with_numbers: bool) -> Candidates:
    tree = json_styles.read(body)
    if tree is not None:
        for change, original in json_styles.rewritten(tree, body, with_numbers=with_numbers):
            yield (*changes, change), original


def _newlines(body: bytes) -> Iterator[tuple[Change, bytes]]:
    ends = (body.removesuffix(b"\n"), body.removesuffix(b"\r\n"), body.rstrip(b"\r\n"))
    for where, cuts in (
        ("at the end", (*ends, body.rstrip())),
        ("in front", (body.removeprefix(b"\n"), body.lstrip(b"\r\n"), body.lstrip())),
        ("in front and at the end", (body.strip(b"\r\n"), body.strip())),
    ):
        for cut in cuts:
            count = len(body) - len(cut)
            if count:
                yield Change(Code.NEWLINE_ADDED, f"without {count} blank byte(s) {where}"), cut
    yield Change(Code.NEWLINE_LOST, "with a newline at the end"), body + b"\n"
    yield Change(Code.NEWLINE_LOST, "with CR and LF at the end"), body + b"\r\n"
    yield Change(Code.NEWLINE_LOST, "with a newline in front"), b"\n" + body


def _line_ends(body: bytes) -> Iterator[tuple[Change, bytes]]:
    as_lf = body.replace(b"\r\n", b"\n")
    count = as_lf.count(b"\n")
    if as_lf != body:
        yield Change(Code.LF_BECAME_CRLF, f"with {count} line end(s) as LF, not CR LF"), as_lf
    elif count:
        as_crlf = body.replace(b"\n", b"\r\n")
        yield Change(Code.CRLF_BECAME_LF, f"with {count} line end(s) as CR LF, not LF"), as_crlf


def _byte_order_mark(body: bytes) -> Iterator[tuple[Change, bytes]]:
    if body.startswith(BOM_UTF8):
        yield Change(Code.BOM_ADDED, "without the three bytes EF BB BF"), body[len(BOM_UTF8) :]
    else:
        yield Change(Code.BOM_LOST, "with EF BB BF in front"), BOM_UTF8 + body


def _compressed(body: bytes) -> Iterator[tuple[Change, bytes]]:
    for kind, window_bits in (("gzip", 31), ("deflate", 15), ("raw deflate", -15)):
        unpacker = zlib.decompressobj(window_bits)
        try:
            original = unpacker.decompress(body, _MAX_UNPACKED_BYTES)
        except zlib.error:
            continue
        if unpacker.eof:
            yield Change(Code.NOT_DECOMPRESSED, f"decompressed with {kind}"), original


def _decompressed(body: bytes) -> Iterator[tuple[Change, bytes]]:
    # What a compressor writes depends on its level and, in two header bytes, on who it is.
    for level, hint in ((6, 0), (9, 2), (1, 4)):
        packer = zlib.compressobj(level, zlib.DEFLATED, -15)
        packed = packer.compress(body) + packer.flush()
        tail = zlib.crc32(body).to_bytes(4, "little") + len(body).to_bytes(4, "little")
        for system in (3, 255, 0):
            head = bytes((31, 139, 8, 0, 0, 0, 0, 0, hint, system))
            change = Change(Code.DECOMPRESSED, f"compressed with gzip at level {level}")
            yield change, head + packed + tail
            if hint:
                yield change, head[:8] + bytes((0, system)) + packed + tail


def _base64(body: bytes) -> Iterator[tuple[Change, bytes]]:
    if _BASE64.fullmatch(body):
        text = body.rstrip().rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
        try:
            original = base64.b64decode(text + b"=" * (-len(text) % 4))
        except binascii.Error:
            return
        yield Change(Code.BASE64_BODY, "decoded from base64"), original


def _json_string(body: bytes) -> Iterator[tuple[Change, bytes]]:
    value = json_styles.read(body)
    if type(value) is str:
        change = Change(Code.JSON_IN_STRING, "as the text that came in a JSON string")
        yield change, value.encode(errors="surrogatepass")


def _wrapped(body: bytes) -> Iterator[tuple[Change, bytes]]:
    inner = json_styles.text_field(json_styles.read(body), "body")
    if inner is None:
        return
    encoded = inner.encode(errors="surrogatepass")
    yield Change(Code.WRAPPED_BODY, "as the text of the field `body`"), encoded
    for change, original in _base64(encoded):
        yield Change(Code.WRAPPED_BODY, f"as the field `body`, {change.evidence}"), original


def _form(body: bytes) -> Iterator[tuple[Change, bytes]]:
    name, equals, value = body.partition(b"=")
    texts = [("URL-decoded", body)]
    if equals and len(name) <= 64:
        texts.append(("as the form field's value, URL-decoded", value))
    if body.endswith(b"="):
        texts.append(("as the form field's name, URL-decoded", body[:-1]))
    for evidence, text in texts:
        change = Change(Code.FORM_BODY, evidence)
        yield change, unquote_to_bytes(text.replace(b"+", b" "))
        yield change, unquote_to_bytes(text)


def _python_repr(body: bytes) -> Iterator[tuple[Change, bytes]]:
    match = _BYTES_REPR.fullmatch(body)
    if match is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes that no repr has
            try:
                original = match[2].decode("unicode_escape").encode("latin-1")
            except UnicodeError:
                return
        yield Change(Code.PYTHON_REPR, "as the bytes that came as Python's b'...'"), original


def _python_dict(body: bytes) -> Iterator[tuple[Change, bytes]]:
    if body.startswith(b"{'"):
        text = _PYTHON_TOKEN.sub(_as_json, body.decode(errors="replace"))
        change = Change(Code.PYTHON_REPR, "as JSON, for what came as Python's repr of a dict")
        yield change, text.encode(errors="surrogatepass")


def _as_json(token: re.Match[str]) -> str:
    text = token[0]
    if text[0] not in "'\"":
        return {"True": "true", "False": "false", "None": "null"}[text]
    inner = text[1:-1].replace("\\'", "'")
    inner = re.sub(r"\\x([0-9a-f]{2})", r"\\u00\1", inner)
    return '"' + (inner.replace('"', '\\"') if text[0] == "'" else inner) + '"'


def _charset(body: bytes) -> Iterator[tuple[Change, bytes]]:
    for source, target in _TRANSCODINGS:
        try:
            original = body.decode(source).encode(target)
        except UnicodeError:
            continue
        if original != body:
            evidence = f"read as {source} and written as {target}"
            yield Change(Code.CHARSET_CHANGED, evidence), original


_TRANSCODINGS: Final = (
    ("utf-8", "latin-1"),
    ("utf-8", "cp1252"),
    ("latin-1", "utf-8"),
    ("cp1252", "utf-8"),
    ("utf-16", "utf-8"),
    ("utf-16-le", "utf-8"),
    ("utf-16-be", "utf-8"),
)
_UNPACKING: Final = frozenset(
    {Code.NOT_DECOMPRESSED, Code.BASE64_BODY, Code.FORM_BODY, Code.PYTHON_REPR, Code.WRAPPED_BODY}
)
# The likeliest first: where two changes lead to the same bytes, the first is named.
_UNDOES: Final[tuple[_Undo, ...]] = (
    _newlines,
    _line_ends,
    _byte_order_mark,
    _compressed,
    _base64,
    _json_string,
    _wrapped,
    _python_repr,
    _python_dict,
    _form,
    _charset,
    _decompressed,
)
