"""The usual ways to write one JSON value down, told apart and written exactly.

Numbers keep the text that they came with: reading them would lose how they were written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import combinations, product
from typing import Final, NamedTuple, TypeAlias

from karla_receiver.explain import json_trees
from karla_receiver.explain.causes import Change, Code
from karla_receiver.explain.json_trees import JSONTree, Number, Object, is_list

__all__ = ["Rewriting", "plain", "rewritten"]

Quote: TypeAlias = Callable[[str], str]
# The change is found out only for the one that fits: that costs as much as all the writing.
Rewriting: TypeAlias = tuple[Callable[[], Change], bytes]
# What is written ("string", "number", or the mark itself), and its text, or how deep it stands.
_Token: TypeAlias = tuple[str, str | int]

_MAX_NUMBER_KEYS = 6
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]*)(\.0)?")


class _Layout(NamedTuple):
    name: str
    comma: str
    colon: str
    indent: str


class _Style(NamedTuple):
    layout: _Layout
    escapes: str
    quote: Quote

    def __str__(self) -> str:
        return f"{self.layout.name}, {self.escapes}"

    def written(self, writing: _Writing) -> list[str]:
        """Return the texts of all tokens, to be joined."""
        texts = {token: self._text(*token) for token in writing.distinct}
        return [texts[token] for token in writing.tokens]

    def _text(self, kind: str, value: str | int) -> str:
        if isinstance(value, str):
            return self.quote(value) if kind == "string" else value
        line = "\n" + self.layout.indent * value if self.layout.indent else ""
        mark = {":": self.layout.colon, ",": self.layout.comma}.get(kind, kind)
        return line + mark if kind in "}]" else mark + line * (kind != ":")


class _Writing:
    """A value, taken apart once to be written in many styles."""

    def __init__(self, tree: JSONTree) -> None:
        self.tokens: list[_Token] = []
        # Which of the tokens are whole numbers, and the key that each has.
        self.wholes: list[tuple[int, str]] = []
        self._add(tree, "", 0)
        self.distinct = set(self.tokens)

    def _add(self, value: JSONTree, key: str, depth: int) -> None:
        if isinstance(value, Number):
            if _WHOLE.fullmatch(value):
                self.wholes.append((len(self.tokens), key))
            self.tokens.append(("number", str(value)))
        elif isinstance(value, str):
            self.tokens.append(("string", value))
        elif not is_list(value):
            self.tokens.append(("number", {None: "null", True: "true", False: "false"}[value]))
        elif not value:
            self.tokens.append(("number", "{}" if isinstance(value, Object) else "[]"))
        else:
            is_object = isinstance(value, Object)
            mark = "{" if is_object else "["
            for item in value:
                self.tokens.append((mark, depth + 1))
                mark = ","
                if is_object:
                    self.tokens += ("string", item[0]), (":", 0)
                    self._add(item[1], item[0], depth + 1)
                else:
                    self._add(item, key, depth + 1)
            self.tokens.append(("}" if is_object else "]", depth))


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
    _Style(layout, escapes, quote)
    for layout, (escapes, quote) in product(_LAYOUTS, _QUOTES.items())
)
_OF_NUMBERS: Final = tuple(
    style for style in _STYLES if style.layout in _LAYOUTS[:3] and style.escapes in {_RAW, _ESCAPED}
)
_ENDS: Final = ((b"", ""), (b"\n", ", with a newline at the end"))


def plain(tree: JSONTree) -> bytes:
    """Return tree in the first style. Raises RecursionError if it is nested too deeply."""
    return _encoded(_STYLES[0].written(_Writing(tree)))


def rewritten(tree: JSONTree, came: bytes, genuine: Sequence[JSONTree]) -> Iterator[Rewriting]:
    """Write tree in every usual style, and with its keys in the orders that it may have had.

    came: the text that tree was read from. genuine: values to learn that order from.
    After that, `20` is written as `20.0` and the other way round, for a key and for several:
    languages without integers change them so. Raises RecursionError, as `plain` does.
    """
    writings: dict[str, _Writing] = {}
    for order, each in _in_orders(tree, genuine):
        writing = writings[order] = _Writing(each)
        for style in _STYLES:
            text = _encoded(style.written(writing))
            for end, note in _ENDS:
                yield partial(_change, came, text + end, style, order + note), text + end
    fractions = json_trees.fraction_keys((tree, *genuine, *json_trees.sample_trees()))
    for order, writing in writings.items():
        if order != _ALPHABETICAL:
            yield from _with_other_numbers(writing, came, order, fractions)


_AS_IT_CAME, _ALPHABETICAL = "", ", keys sorted"


def _in_orders(tree: JSONTree, genuine: Sequence[JSONTree]) -> Iterator[tuple[str, JSONTree]]:
    yield _AS_IT_CAME, tree
    seen = [tree]
    samples = json_trees.sample_trees()
    learned = partial(json_trees.with_learned_keys, tree)
    for name, reordered in (
        (", keys in the order of the samples", partial(learned, samples)),
        (", keys in the order that was learned", partial(learned, genuine, samples)),
        (_ALPHABETICAL, partial(json_trees.with_sorted_keys, tree)),
    ):
        each = reordered()
        if each not in seen:
            seen.append(each)
            yield name, each


def _with_other_numbers(
    writing: _Writing, came: bytes, order: str, fractions: set[str]
) -> Iterator[Rewriting]:
    # Those that are seen with fractions are the likeliest to have lost one.
    keys = dict.fromkeys(key for _, key in writing.wholes)
    likeliest = sorted(keys, key=lambda key: key not in fractions)[:_MAX_NUMBER_KEYS]
    for style in _OF_NUMBERS:
        pieces = style.written(writing)
        for size in range(1, len(likeliest) + 1):
            for chosen in combinations(likeliest, size):
                names = " and ".join(ascii(key[:40]) for key in chosen)
                text = _encoded(_respelled(pieces, writing, chosen))
                for end, note in _ENDS if style.layout.indent else _ENDS[:1]:
                    note += f", with the other spelling of 20 and 20.0 in {names}"
                    yield partial(_change, came, text + end, style, order + note), text + end


def _change(came: bytes, text: bytes, signed: _Style, notes: str) -> Change:
    if text.translate(None, b"\r\n") == came.translate(None, b"\r\n"):
        return Change(Code.NEWLINES_CHANGED, "with the line ends that are usual in such a layout")
    received = _style_of(came)
    code = Code.KEYS_REORDERED if ", keys" in notes else Code.JSON_RESERIALISED
    written = "in no usual style" if received is None else f"with {received}"
    return Change(code, f"what was signed has {signed}{notes}; what came is written {written}")


def _style_of(came: bytes) -> _Style | None:
    writing = _Writing(json_trees.read(came))
    stripped = came.rstrip(b"\r\n")
    return next((each for each in _STYLES if _encoded(each.written(writing)) == stripped), None)


def _encoded(pieces: Iterable[str]) -> bytes:
    return "".join(pieces).encode(errors="surrogatepass")


def _respelled(pieces: list[str], writing: _Writing, keys: tuple[str, ...]) -> list[str]:
    pieces = list(pieces)
    for index, key in writing.wholes:
        if key in keys:
            text = pieces[index]
            pieces[index] = text[:-2] if text.endswith(".0") else f"{text}.0"
    return pieces
