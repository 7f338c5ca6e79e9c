"""The usual ways to write one JSON value down, told apart and written exactly.

Numbers keep the text that they came with: reading them would lose how they were written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations, product
from typing import Any, Final, NamedTuple, TypeAlias, TypeGuard

from karla_receiver.explain.causes import Change, Code

__all__ = ["JSONTree", "Rewriting", "is_sorted", "read", "rewritten", "text_field"]

JSONTree: TypeAlias = Any
Quote: TypeAlias = Callable[[str], str]
# The change is found out only for the one that fits: that costs as much as all the writing.
Rewriting: TypeAlias = tuple[Callable[[], Change], bytes]

_MAX_NUMBER_KEYS = 6
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]*)(\.0)?")


class _Number(str):
    """A number's text as it was received."""

    __slots__ = ()


class _Object(list[tuple[str, Any]]):
    """An object's pairs in the order they came."""


class _Layout(NamedTuple):
    name: str
    comma: str
    colon: str
    indent: str


class _Writing(NamedTuple):
    """A value written down: pieces to join, and which of them are whole numbers of which key."""

    pieces: list[str]
    wholes: list[tuple[int, str]]


class _Style(NamedTuple):
    layout: _Layout
    escapes: str
    quote: Quote
    is_sorted: bool

    def __str__(self) -> str:
        order = ", keys sorted" if self.is_sorted else ""
        return f"{self.layout.name}, {self.escapes}{order}"


_plain: Final[Quote] = json.JSONEncoder(ensure_ascii=False).encode
_ascii: Final[Quote] = json.JSONEncoder().encode


def _slashed(quote: Quote, text: str) -> str:
    return quote(text).replace("/", "\\/")


def _upper(text: str) -> str:
    # An even number of backslashes before it stands for backslashes, and not for an escape.
    escape = re.compile(r"(?<!\\)((?:\\\\)*\\u)([0-9a-f]{4})")
    return escape.sub(lambda match: match[1] + match[2].upper(), _ascii(text))


def _html(text: str) -> str:
    quoted = _plain(text)
    for mark in "<>&\u2028\u2029":
        quoted = quoted.replace(mark, f"\\u{ord(mark):04x}")
    return quoted


_LAYOUTS: Final = (
    _Layout("no blanks (JSON.stringify, PHP, orjson)", ",", ":", ""),
    _Layout("blanks after , and : (Python's json.dumps)", ", ", ": ", ""),
    _Layout("indented by 2", ",", ": ", "  "),
    _Layout("indented by 4", ",", ": ", "    "),
    _Layout("indented by tabs", ",", ": ", "\t"),
)
_RAW, _ESCAPED = "non-ASCII as it is", "non-ASCII as \\u"
_QUOTES: Final[dict[str, Quote]] = {
    _RAW: _plain,
    _ESCAPED: _ascii,
    _ESCAPED + " and / as \\/ (PHP's json_encode)": partial(_slashed, _ascii),
    _RAW + ", / as \\/": partial(_slashed, _plain),
    _RAW + ", <, > and & as \\u (Go)": _html,
    _ESCAPED + " in capitals (.NET)": _upper,
}
_STYLES: Final = tuple(
    _Style(layout, escapes, quote, is_sorted)
    for is_sorted, layout, (escapes, quote) in product((False, True), _LAYOUTS, _QUOTES.items())
)


def read(body: bytes) -> JSONTree | None:
    """Return the JSON value that body holds; None if it holds none, or one nested too deeply."""
    try:
        return json.loads(
            body.decode(),
            parse_int=_Number,
            parse_float=_Number,
            parse_constant=_Number,
            object_pairs_hook=_Object,
        )
    except (ValueError, RecursionError):
        return None


def text_field(tree: JSONTree | None, name: str) -> str | None:
    """Return the text in one field of an object; None if there is no such thing."""
    if isinstance(tree, _Object):
        for key, value in tree:
            if key == name and type(value) is str:
                return value
    return None


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def is_sorted(tree: JSONTree) -> bool:
    """Return whether there are keys to sort in tree and all of them are in order."""
    keys = [[key for key, _ in each] for each in _objects(tree)]
    return any(len(each) > 1 for each in keys) and all(each == sorted(each) for each in keys)


def _objects(tree: JSONTree) -> Iterator[_Object]:
    pending = [tree]
    while pending:
        value = pending.pop()
        if isinstance(value, _Object):
            yield value
            pending.extend(child for _, child in value)
        elif _is_list(value):
            pending.extend(value)


def rewritten(tree: JSONTree, body: bytes, *, with_numbers: bool) -> Iterator[Rewriting]:
    """Write tree, which was read from body, in every usual style.

    with_numbers: after that, also with whole numbers as `20.0` where `20` came, or the other way
    round, a key at a time and in combinations: languages without integers change them so.
    """
    try:
        yield from _in_all_styles(tree, body)
        if with_numbers:
            yield from _with_other_numbers(tree, body)
    except RecursionError:
        return  # as deep as the interpreter reads, and deeper than it writes


def _in_all_styles(tree: JSONTree, body: bytes) -> Iterator[Rewriting]:
    for style in _STYLES:
        text = _encoded(_write(tree, style).pieces)
        for end, note in ((b"", ""), (b"\n", ", with a newline at the end")):
            yield partial(_change, tree, body, style, note), text + end


def _with_other_numbers(tree: JSONTree, body: bytes) -> Iterator[Rewriting]:
    for style in _STYLES:
        if style.is_sorted:
            continue
        writing = _write(tree, style)
        for keys in _number_keys(writing):
            names = " and ".join(ascii(key[:40]) for key in keys)
            note = f", with the other spelling of 20 and 20.0 in {names}"
            text = _encoded(_respelled(writing, keys))
            yield partial(_change, tree, body, style, note), text


def _change(tree: JSONTree, body: bytes, signed: _Style, note: str) -> Change:
    received = _style_of(tree, body)
    code = Code.JSON_RESERIALISED
    if received is not None and not note:
        if received.is_sorted != signed.is_sorted:
            code = Code.KEYS_REORDERED
        elif received.layout == signed.layout and {received.escapes, signed.escapes} == {
            _RAW,
            _ESCAPED,
        }:
            is_escaped = received.escapes == _ESCAPED
            code = Code.UNICODE_ESCAPED if is_escaped else Code.UNICODE_UNESCAPED
    came = "in no usual style" if received is None else f"with {received}"
    return Change(code, f"what was signed has {signed}{note}; what came is written {came}")


def _style_of(tree: JSONTree, body: bytes) -> _Style | None:
    stripped = body.rstrip(b"\r\n")
    for style in _STYLES:
        if _encoded(_write(tree, style).pieces) == stripped:
            return style
    return None


def _encoded(pieces: list[str]) -> bytes:
    return "".join(pieces).encode(errors="surrogatepass")


def _number_keys(writing: _Writing) -> Iterator[tuple[str, ...]]:
    keys = list(dict.fromkeys(key for _, key in writing.wholes))[:_MAX_NUMBER_KEYS]
    for size in range(1, len(keys) + 1):
        yield from combinations(keys, size)


def _respelled(writing: _Writing, keys: tuple[str, ...]) -> list[str]:
    pieces = list(writing.pieces)
    for index, key in writing.wholes:
        if key in keys:
            text = pieces[index]
            pieces[index] = text[:-2] if text.endswith(".0") else f"{text}.0"
    return pieces


def _write(tree: JSONTree, style: _Style) -> _Writing:
    writing = _Writing([], [])
    _write_value(tree, "", style, "\n" if style.layout.indent else "", writing)
    return writing


def _write_value(value: JSONTree, key: str, style: _Style, line: str, writing: _Writing) -> None:
    if isinstance(value, _Number):
        if _WHOLE.fullmatch(value):
            writing.wholes.append((len(writing.pieces), key))
        writing.pieces.append(value)
    elif isinstance(value, str):
        writing.pieces.append(style.quote(value))
    elif _is_list(value):
        _write_container(value, key, style, line, writing)
    else:
        writing.pieces.append({None: "null", True: "true", False: "false"}[value])


def _write_container(
    value: list[Any], key: str, style: _Style, line: str, writing: _Writing
) -> None:
    is_object = isinstance(value, _Object)
    opening, closing = "{}" if is_object else "[]"
    if not value:
        writing.pieces.append(opening + closing)
        return
    inner = line + style.layout.indent
    separator = opening + inner
    if is_object and style.is_sorted:
        value = sorted(value, key=lambda pair: pair[0])
    for item in value:
        writing.pieces.append(separator)
        separator = style.layout.comma + inner
        if is_object:
            writing.pieces.extend((style.quote(item[0]), style.layout.colon))
            _write_value(item[1], item[0], style, inner, writing)
        else:
            _write_value(item, key, style, inner, writing)
    writing.pieces.append(line + closing)
