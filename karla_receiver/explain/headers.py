"""What a signature header may have said before something on its way damaged it."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias, cast
from urllib.parse import unquote

from karla_receiver.errors import SignatureError
from karla_receiver.explain.causes import Change, Code
from karla_receiver.request import Headers
from karla_receiver.signature import HEADER, parse_header

__all__ = ["HeaderLines", "HeaderPairs", "Reading", "as_lines", "as_pairs", "lines_of", "readings"]

HeaderLines: TypeAlias = Sequence[str]
HeaderPairs: TypeAlias = Sequence[tuple[str, str]]
_Repair: TypeAlias = Callable[[str], Iterator[tuple[Change, str]]]

_MAX_CHARACTERS = 8192
# So many digits of a cut signature are proof: no other one begins with them.
_MIN_DIGITS = 16
_DEPTH = 2

# A longer t is refused; in nanoseconds it has four digits more.
_MAX_DIGITS = 15

_DIGITS = re.compile(r"0|[1-9][0-9]{0,18}")
_TIMESTAMP = re.compile(r"(?:^|,)[ \t]*t=([^,]{1,40})")
_CUT_V1 = re.compile(rf"(?:^|,)[ \t]*v1=([0-9a-fA-F]{{{_MIN_DIGITS},63}})(?![0-9a-fA-F])")
_V1 = re.compile(r"(?:^|,)[ \t]*v1=([0-9a-fA-F]{64})(?![0-9a-fA-F])")
_IN_BASE64 = re.compile(r"(v1=)([A-Za-z0-9+/_-]{43})=?(?![A-Za-z0-9+/_=-])")
_BEFORE_T = re.compile(r"(?<![A-Za-z0-9])(?=t=)")


class Reading(NamedTuple):
    """One way to read a header.

    timestamp: the text that was signed; signatures: 32 bytes each.
    cut: leading hex digits of a signature that was cut short.
    changes: what was undone to read it so.
    """

    timestamp: str
    signatures: tuple[bytes, ...]
    cut: str
    changes: tuple[Change, ...]

    def __repr__(self) -> str:
        return f"<Reading with {len(self.signatures)} digests>"


def as_lines(header: str | bytes | Sequence[str | bytes] | None) -> HeaderLines:
    """Return the header's lines as text."""
    return list(map(_text, [header] if isinstance(header, str | bytes) else header or ()))


def as_pairs(headers: Headers) -> HeaderPairs:
    """Return all headers as pairs of text."""
    if isinstance(headers, Mapping):
        return list(cast("Mapping[str, str]", headers).items())
    return [(_text(name), _text(value)) for name, value in headers]


def lines_of(headers: HeaderPairs, name: str) -> list[str]:
    """Return the values of all lines of one header; name is in lower case."""
    return [value for key, value in headers if key.lower() == name]


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


def readings(lines: HeaderLines, headers: HeaderPairs) -> Iterator[Reading]:
    """Yield each way to read a header that differs from the ones before, the plainest first.

    headers: all that came with the delivery, in case the signature came under another name.
    """
    seen: set[tuple[str, tuple[bytes, ...], str]] = set()
    texts = list(_texts(lines, headers))
    # What may be damaged for good is taken for that only if no repair makes a header of it.
    for read in (_read, _read_damaged):
        for changes, text in texts:
            for reading in read(text, changes):
                if reading[:3] not in seen:
                    seen.add(reading[:3])
                    yield reading


def _texts(lines: HeaderLines, headers: HeaderPairs) -> Iterator[tuple[tuple[Change, ...], str]]:
    level: list[tuple[tuple[Change, ...], str]] = [((), ",".join(lines))]
    if len(lines) > 1:
        change = Change(Code.HEADER_SPLIT, f"{len(lines)} header lines put together")
        level.append(((change,), "".join(lines)))
        level.append(((change,), "".join(line.strip() for line in lines)))
    if not any(line.strip() for line in lines):
        level = list(_under_other_names(headers))
    for _ in range(_DEPTH + 1):
        level = [each for each in level if len(each[1]) <= _MAX_CHARACTERS]
        yield from level
        level = [
            ((*changes, change), repaired)
            for changes, text in level
            for repair in _REPAIRS
            for change, repaired in repair(text)
            if repaired != text
        ]


def _under_other_names(headers: HeaderPairs) -> Iterator[tuple[tuple[Change, ...], str]]:
    for name, text in headers:
        if "v1" in text and "t" in text and name.lower() != HEADER.lower():
            change = Change(Code.HEADER_RENAMED, f"it came as {name[:60]!a}")
            yield (change,), text


def _read(text: str, changes: tuple[Change, ...]) -> Iterator[Reading]:
    try:
        header = parse_header(text)
    except SignatureError:
        return
    yield Reading(header.timestamp, header.signatures, "", changes)


def _read_damaged(text: str, changes: tuple[Change, ...]) -> Iterator[Reading]:
    timestamps = _TIMESTAMP.findall(text)
    if len(timestamps) != 1:
        return
    stamp: str = timestamps[0].strip()
    whole, cut = _V1.search(text), _CUT_V1.search(text)
    signatures = () if whole is None else (bytes.fromhex(whole[1]),)
    digits = "" if cut is None else cut[1].lower()
    if cut is not None:
        evidence = f"v1 has {len(digits)} of 64 digits"
        changes = (*changes, Change(Code.HEADER_TRUNCATED, evidence))
    elif whole is None:
        return
    if _DIGITS.fullmatch(stamp):
        if cut is not None or len(stamp) > _MAX_DIGITS:
            yield Reading(stamp, signatures, digits, changes)
        return
    change = Change(Code.TIMESTAMP_RESPELLED, f"t came as {stamp!a}")
    yield Reading(stamp, signatures, digits, (*changes, change))
    number = re.fullmatch(r"[+ ]?0*([0-9]{1,15})(?:\.[0-9]*)?", stamp)
    if number is not None:
        yield Reading(number[1], signatures, digits, (*changes, change))


def _unquoted(text: str) -> Iterator[tuple[Change, str]]:
    bare = re.sub(r"^\s*b(?=['\"])", "", text)
    yield Change(Code.HEADER_QUOTED, "without the quotes in it"), re.sub(r"\\?['\"]", "", bare)


def _url_decoded(text: str) -> Iterator[tuple[Change, str]]:
    yield Change(Code.HEADER_URL_ENCODED, "URL-decoded"), unquote(text)


def _unfolded(text: str) -> Iterator[tuple[Change, str]]:
    change = Change(Code.HEADER_SPLIT, "without the line break or blank within it")
    yield change, re.sub(r"\s+", "", text)


def _separated(text: str) -> Iterator[tuple[Change, str]]:
    change = Change(Code.HEADER_RESPELLED, "with t=, v1= and a comma between them")
    spelt = re.sub(r"(?i)(?<![a-z0-9])(t|v1)\s*[:=]\s*", lambda match: f"{match[1].lower()}=", text)
    yield change, re.sub(r"\s*[;&|,\s]\s*", ",", spelt.strip())


def _unnamed(text: str) -> Iterator[tuple[Change, str]]:
    change = Change(Code.HEADER_NAME_IN_VALUE, "without its own name in front")
    yield change, re.sub(rf"(?i)^\s*{HEADER}\s*[:=]\s*", "", text)


def _parted(text: str) -> Iterator[tuple[Change, str]]:
    parts = [part.strip(" ,;\t") for part in _BEFORE_T.split(text) if "v1=" in part]
    if len(parts) > 1:
        for number, part in enumerate(parts, 1):
            yield Change(Code.HEADER_JOINED, f"only header {number} of {len(parts)} in it"), part


def _from_base64(text: str) -> Iterator[tuple[Change, str]]:
    def as_hex(match: re.Match[str]) -> str:
        digest = base64.urlsafe_b64decode(match[2].replace("+", "-").replace("/", "_") + "=")
        return match[1] + digest.hex()

    yield Change(Code.SIGNATURE_IN_BASE64, "v1 read as base64"), _IN_BASE64.sub(as_hex, text)


_REPAIRS: Final[tuple[_Repair, ...]] = (
    _parted,
    _unquoted,
    _url_decoded,
    _unnamed,
    _unfolded,
    _from_base64,
    _separated,
)
