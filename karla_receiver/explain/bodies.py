"""What a body may have been before something on its way changed it."""

from __future__ import annotations

import base64
import binascii
import contextlib
import html
import re
import warnings
import zlib
from codecs import BOM_UTF8
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Final, TypeAlias
from urllib.parse import unquote_to_bytes

from karla_receiver.explain import json_styles, json_trees
from karla_receiver.explain.causes import Change, Code
from karla_receiver.explain.json_trees import JSONTree

__all__ = ["Candidate", "originals"]

# What is undone, and what the body was before that.
Candidate: TypeAlias = tuple[tuple[Change | Callable[[], Change], ...], bytes]
_Changed: TypeAlias = tuple[tuple[Change, ...], bytes]
# What the body may have been, each with how that shows.
_Undone: TypeAlias = Iterator[tuple[str, bytes]]

_MAX_UNPACKED_BYTES = 16 * 1_048_576
# How many envelopes in one another are opened at once, and how many values of theirs are looked at.
_MAX_ENVELOPES = 2
_MAX_VALUES = 1_000
_OPENING = ("{", "[", '"')
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{8,}={0,2}\s*")
_HEX = re.compile(rb"(?:0x|\\\\?x)?((?:[0-9A-Fa-f]{2})+)\s*")
_REPR = re.compile(rb"""(b?)(['"])(.+)\2""", re.DOTALL)
_PYTHON_TOKEN = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\b(?:True|False|None)\b""")


def originals(body: bytes, genuine: Sequence[JSONTree]) -> Iterator[Candidate]:
    """Yield what body may have been: one change undone, then two, then JSON styles.

    genuine: values to learn the order of keys from.
    """
    once: list[_Changed] = [((change,), original) for change, original in _undone(body)]
    yield from once
    for changes, original in once:
        for change, twice in _undone(original):
            yield (*changes, change), twice
    # A tree may be as deep as the interpreter reads, and deeper than it writes.
    with contextlib.suppress(RecursionError):
        seen: set[bytes] = set()
        for changes, came, tree in _trees([((), body), *once]):
            text = json_styles.plain(tree)
            if text not in seen:
                seen.add(text)
                for rewriting, original in json_styles.rewritten(tree, came, genuine):
                    yield (*changes, rewriting), original
    for evidence, packed in _packed(body):
        yield (Change(Code.COMPRESSION_CHANGED, evidence),), packed


def _undone(body: bytes) -> Iterator[tuple[Change, bytes]]:
    for code, undo in _UNDOES:
        for evidence, original in undo(body):
            yield Change(code, evidence), original


def _trees(texts: list[_Changed]) -> Iterator[tuple[tuple[Change, ...], bytes, JSONTree]]:
    """Yield what is JSON in texts, what such JSON carries, and what it was in another charset."""
    for changes, text in texts:
        tree = json_trees.read(text)
        if tree is None:
            continue
        yield changes, text, tree
        for path, inner in _carried(tree):
            if not isinstance(inner, str):
                yield (*changes, Change(Code.WRAPPED_BODY, path)), text, inner
        # Escaped after it was decoded wrongly: the letters show it once they are written out.
        for evidence, original in _charset(json_styles.plain(tree) if b"\\u00" in text else b""):
            inner = json_trees.read(original)
            if inner is not None:
                yield (*changes, Change(Code.CHARSET_CHANGED, evidence)), text, inner


def _newlines(body: bytes) -> _Undone:
    ends = (body.removesuffix(b"\n"), body.removesuffix(b"\r\n"), body.rstrip(b"\r\n"))
    for where, cuts in (
        ("at the end", (*ends, body.rstrip())),
        ("in front", (body.removeprefix(b"\n"), body.lstrip(b"\r\n"), body.lstrip())),
        ("in front and at the end", (body.strip(b"\r\n"), body.strip())),
    ):
        for cut in cuts:
            if cut != body:
                yield f"without {len(body) - len(cut)} blank byte(s) {where}", cut
    yield "with a newline at the end", body + b"\n"
    yield "with CR and LF at the end", body + b"\r\n"
    yield "with a newline in front", b"\n" + body
    as_lf = body.replace(b"\r\n", b"\n")
    count = as_lf.count(b"\n")
    if as_lf != body:
        yield f"with {count} line end(s) as LF, not CR LF", as_lf
    elif count:
        yield f"with {count} line end(s) as CR LF, not LF", body.replace(b"\n", b"\r\n")


def _byte_order_mark(body: bytes) -> _Undone:
    if body.startswith(BOM_UTF8):
        yield "without the three bytes EF BB BF", body.removeprefix(BOM_UTF8)
    else:
        yield "with EF BB BF in front", BOM_UTF8 + body


def _unpacked(body: bytes) -> _Undone:
    for kind, window_bits in (("gzip", 31), ("deflate", 15), ("raw deflate", -15)):
        unpacker = zlib.decompressobj(window_bits)
        with contextlib.suppress(zlib.error):
            original = unpacker.decompress(body, _MAX_UNPACKED_BYTES)
            if unpacker.eof:
                yield f"decompressed with {kind}", original


def _packed(body: bytes) -> _Undone:
    # What a compressor writes depends on its level and, in two header bytes, on who it is.
    for level, hint in ((6, 0), (9, 2), (1, 4)):
        packer = zlib.compressobj(level, zlib.DEFLATED, -15)
        packed = packer.compress(body) + packer.flush()
        tail = zlib.crc32(body).to_bytes(4, "little") + len(body).to_bytes(4, "little")
        for system, flag in product((3, 255, 0), {hint, 0}):
            head = bytes((31, 139, 8, 0, 0, 0, 0, 0, flag, system))
            yield f"compressed with gzip at level {level}", head + packed + tail


def _encoded(body: bytes) -> _Undone:
    if match := _HEX.fullmatch(body):
        yield "decoded from hex", bytes.fromhex(match[1].decode())
    if _BASE64.fullmatch(body):
        text = body.rstrip().rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
        with contextlib.suppress(binascii.Error):
            yield "decoded from base64", base64.b64decode(text + b"=" * (-len(text) % 4))
    if b"&" in body:
        unescaped = html.unescape(body.decode(errors="surrogateescape"))
        yield "decoded from HTML", unescaped.encode(errors="surrogateescape")
    if b"%" in body and b'"' not in body:
        name, _, value = body.partition(b"=")
        for evidence, text in (
            ("URL-decoded", body),
            ("as the form field's value, URL-decoded", value),
            ("as the form field's name, URL-decoded", name),
        ):
            yield evidence, unquote_to_bytes(text.replace(b"+", b" "))
            yield evidence, unquote_to_bytes(text)


def _json_string(body: bytes) -> _Undone:
    for text in (body, b'"' + body + b'"'):
        value = json_trees.read(text)
        if type(value) is str:
            yield "as the text that came in a JSON string", value.encode(errors="surrogatepass")


def _wrapped(body: bytes) -> _Undone:
    for path, inner in _carried(json_trees.read(body)):
        if isinstance(inner, str):
            encoded = inner.encode(errors="surrogatepass")
            yield path, encoded
            for how, original in _encoded(encoded):
                yield f"{path}, {how}", original


def _carried(envelope: JSONTree | None) -> Iterator[tuple[str, JSONTree]]:
    """Yield what an envelope, or one in it, carries: texts that may be bodies, and events."""
    pending = deque[tuple[str, int, JSONTree]]([("", 0, envelope)])
    for _ in range(_MAX_VALUES):
        if not pending:
            return
        path, depth, value = pending.popleft()
        if isinstance(value, json_trees.Object):
            if any(key == "event_group" for key, _ in value):
                if path:
                    yield path, value
                continue
            for key, child in value:
                name = f"{path}, then {key[:40]!a}" if path else f"as the field {key[:40]!a}"
                pending.append((name, depth, child))
        elif json_trees.is_list(value):
            pending.extend((path, depth, child) for child in value)
        elif type(value) is str and path:
            text = value.encode(errors="replace")
            if value.lstrip()[:1] in _OPENING or _BASE64.fullmatch(text):
                yield path, value
                if depth + 1 < _MAX_ENVELOPES:
                    pending.append((path, depth + 1, json_trees.read(text)))


def _python_repr(body: bytes) -> _Undone:
    if match := _REPR.fullmatch(body):
        kind, charset = ("b'...'", "latin-1") if match[1] else ("'...'", "utf-8")
        with warnings.catch_warnings(), contextlib.suppress(UnicodeError):
            warnings.simplefilter("ignore")  # about escapes that no repr has
            escaped = match[3].decode().encode("latin-1", "backslashreplace")
            text = escaped.decode("unicode_escape").encode(charset)
            yield f"as what came as Python's {kind}", text
    elif body.startswith(b"{'"):
        written = _PYTHON_TOKEN.sub(_as_json, body.decode(errors="replace"))
        yield "as JSON, for what came as Python's repr of a dict", written.encode()


def _as_json(token: re.Match[str]) -> str:
    text = token[0]
    if text[0] not in "'\"":
        return {"True": "true", "False": "false", "None": "null"}[text]
    inner = text[1:-1].replace("\\'", "'")
    inner = re.sub(r"\\x([0-9a-f]{2})", r"\\u00\1", inner)
    return '"' + (inner.replace('"', '\\"') if text[0] == "'" else inner) + '"'


def _charset(body: bytes) -> _Undone:
    for source, target in _OF_TEXT if _is_text(body) else _OF_OTHERS:
        with contextlib.suppress(UnicodeError):
            original = body.decode(source).encode(target)
            if original != body:
                yield f"read as {source} and written as {target}", original


def _is_text(body: bytes) -> bool:
    try:
        return "\0" not in body.decode()
    except UnicodeDecodeError:
        return False


_OF_TEXT: Final = (("utf-8", "latin-1"), ("utf-8", "cp1252"))
_OF_OTHERS: Final = tuple(
    (source, "utf-8") for source in ("latin-1", "cp1252", "utf-16", "utf-16-le", "utf-16-be")
)
# The likeliest first: where two changes lead to the same bytes, the first is named.
_UNDOES: Final[tuple[tuple[Code, Callable[[bytes], _Undone]], ...]] = (
    (Code.NEWLINES_CHANGED, _newlines),
    (Code.BYTE_ORDER_MARK, _byte_order_mark),
    (Code.COMPRESSION_CHANGED, _unpacked),
    (Code.ENCODED_BODY, _encoded),
    (Code.JSON_IN_STRING, _json_string),
    (Code.WRAPPED_BODY, _wrapped),
    (Code.PYTHON_REPR, _python_repr),
    (Code.CHARSET_CHANGED, _charset),
)
