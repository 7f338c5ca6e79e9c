"""What a signature header may have said before something on its way damaged it."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple, TypeAlias, cast
from urllib.parse import unquote

from karla_receiver.errors import SignatureError
from karla_receiver.explain.causes import Change, Code
from karla_receiver.request import Headers
from karla_receiver.signature import HEADER, parse_header

__all__ = [
    "ALGORITHMS",
    "HeaderLines",
    "HeaderPairs",
    "Reading",
    "as_lines",
    "as_pairs",
    "lines_of",
    "readings",
]

HeaderLines: TypeAlias = Sequence[str]
HeaderPairs: TypeAlias = Sequence[tuple[str, str]]
_Repair: TypeAlias = Callable[[str], str]

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
_LONG_V1 = re.compile(r"(?:^|,)[ \t]*v1=([0-9a-fA-F]{32,128})(?![0-9a-fA-F])")
_BARE = re.compile(r"\s*([0-9a-fA-F]{32,128})\s*")
# What others call a signature, before its digits.
_OTHER_V1 = re.compile(
    r"(?i)(?<![a-z0-9])(?:v1=)?((?:hmac[-_])?(?:sha-?(?:1|224|256|384|512)|md5)|v0)="
)
_IN_BASE64 = re.compile(r"(v1=)([A-Za-z0-9+/_-]{43})=?(?![A-Za-z0-9+/_=-])")
_BEFORE_T = re.compile(r"(?<![A-Za-z0-9])(?=t=)")


# How many hex digits the algorithms beside ours write.
ALGORITHMS: Final = {32: "MD5", 40: "SHA1", 56: "SHA224", 96: "SHA384", 128: "SHA512"}


class Reading(NamedTuple):
    """One way to read a header.

    timestamp: the text that was signed; empty if there is none. signatures: 32 bytes each, but
    for one of another algorithm.
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
    level += _each_alone([line.strip(" ,;\t") for line in lines])
    if len(lines) > 1:
        change = Change(Code.HEADER_RESPELLED, f"{len(lines)} header lines put together")
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
            for change, repaired in _repaired(text)
            if repaired != text
        ]


def _each_alone(headers: Sequence[str]) -> list[tuple[tuple[Change, ...], str]]:
    """Return each of several whole headers, where it counts which one is meant."""
    whole = [header for header in headers if "t=" in header and "v1=" in header]
    if len(whole) < 2:
        return []
    if len(set(whole)) == 1:
        return [((Change(Code.HEADER_REPEATED, f"the same header {len(whole)} times"),), whole[0])]
    return [
        ((Change(Code.HEADER_REPEATED, f"only header {number} of {len(whole)}"),), header)
        for number, header in enumerate(whole, 1)
    ]


def _under_other_names(headers: HeaderPairs) -> Iterator[tuple[tuple[Change, ...], str]]:
    for name, text in headers:
        if name.lower() == HEADER.lower():
            continue
        if ("v1" in text and "t" in text) or "signature" in name.lower():
            change = Change(Code.HEADER_RENAMED, f"it came as {name[:60]!a}")
            yield (change,), text


def _read(text: str, changes: tuple[Change, ...]) -> Iterator[Reading]:
    try:
        header = parse_header(text)
    except SignatureError:
        return
    yield Reading(header.timestamp, header.signatures, "", changes)


def _read_damaged(text: str, changes: tuple[Change, ...]) -> Iterator[Reading]:
    timestamps: list[str] = _TIMESTAMP.findall(text)
    if len(timestamps) > 1:
        return
    stamp = timestamps[0].strip() if timestamps else ""
    if not stamp:
        changes = (*changes, Change(Code.HEADER_RESPELLED, "there is no t in it"))
    is_number = bool(_DIGITS.fullmatch(stamp))
    other, whole, cut = (each.search(text) for each in (_LONG_V1, _V1, _CUT_V1))
    if other and len(other[1]) in ALGORITHMS and (is_number or not stamp):
        evidence = f"v1 has {len(other[1])} digits, as HMAC-{ALGORITHMS[len(other[1])]} has"
        change = Change(Code.OTHER_SCHEME, evidence)
        yield Reading(stamp, (bytes.fromhex(other[1]),), "", (*changes, change))
    signatures = (bytes.fromhex(whole[1]),) if whole else ()
    digits = cut[1].lower() if cut else ""
    if cut:
        evidence = f"v1 has {len(digits)} of 64 digits"
        changes = (*changes, Change(Code.HEADER_TRUNCATED, evidence))
    elif not whole:
        return
    if is_number or not stamp:
        if not is_number or cut or len(stamp) > _MAX_DIGITS:
            yield Reading(stamp, signatures, digits, changes)
        return
    changes = (*changes, Change(Code.TIMESTAMP_RESPELLED, f"t came as {stamp!a}"))
    yield Reading(stamp, signatures, digits, changes)
    number = re.fullmatch(r"[+ ]?0*([0-9]{1,15})(?:\.[0-9]*)?", stamp)
    if number:
        yield Reading(number[1], signatures, digits, changes)


def _repaired(text: str) -> Iterator[tuple[Change, str]]:
    for (change,), part in _each_alone([part.strip(" ,;\t") for part in _BEFORE_T.split(text)]):
        yield change, part
    for evidence, repair in _REPAIRS.items():
        yield Change(Code.HEADER_RESPELLED, evidence), repair(text)
    if _BARE.fullmatch(text):
        yield Change(Code.HEADER_RESPELLED, "with v1= in front"), f"v1={text.strip()}"


def _unquoted(text: str) -> str:
    return re.sub(r"\\?['\"]", "", re.sub(r"^\s*b(?=['\"])", "", text))


def _separated(text: str) -> str:
    spelt = re.sub(r"(?i)(?<![a-z0-9])(t|v1)\s*[:=]\s*", lambda match: f"{match[1].lower()}=", text)
    return re.sub(r"\s*[;&|,\s]\s*", ",", spelt.strip())


def _as_hex(match: re.Match[str]) -> str:
    digest = base64.urlsafe_b64decode(match[2].replace("+", "-").replace("/", "_") + "=")
    return match[1] + digest.hex()


_REPAIRS: Final[dict[str, _Repair]] = {
    "without the quotes in it": _unquoted,
    "URL-decoded": unquote,
    "without its own name in front": partial(re.sub, rf"(?i)^\s*{HEADER}\s*[:=]\s*", ""),
    "with v1= in place of another name": partial(_OTHER_V1.sub, "v1="),
    "without the line break or blank within it": partial(re.sub, r"\s+", ""),
    "with v1 read as base64": partial(_IN_BASE64.sub, _as_hex),
    "with t=, v1= and a comma between them": _separated,
}
