"""What a check of an endpoint found, as data and as a table to read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from textwrap import indent, shorten
from types import MappingProxyType
from typing import Final

from karla_receiver.checks import printable
from karla_receiver.testing.attacks import decisions

__all__ = ["Finding", "Kind", "SafetyReport"]

_WIDTHS: Final = {"id": 9, "title": 46, "answered": 27, "expected": 22}
_LONGEST_ANSWER: Final = 400


@unique
class Kind(StrEnum):
    """What is wrong with an answer."""

    ACCEPTED = "accepted"  # what must be refused
    FAILED = "failed"  # 500 and above, an exception, or no answer
    UNEXPECTED = "unexpected"  # a genuine delivery refused, or a status that is not documented
    LEAKED = "leaked"  # the secret or a signature in the answer
    TIMING = "timing"  # no constant-time comparison


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """An answer that is not right.

    id, title: of what was sent; answered, expected: for people; why: what the rule is there for.
    """

    id: str
    kind: Kind
    title: str
    answered: str
    expected: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetyReport:
    """What came of a check.

    findings: what is wrong; none if the endpoint is safe as far as this was seen.
    sent: how many deliveries were sent.
    left_out: the cases that were not tried, each with the reason.
    unhandled: genuine events, of a shape that Karla does not send today, for which the endpoint
    failed with 500 or 503. That is documented: they are not acknowledged, and not handled.
    seconds: how long it took.
    """

    findings: tuple[Finding, ...]
    sent: int
    left_out: tuple[str, ...]
    unhandled: tuple[str, ...]
    seconds: float

    @property
    def mistakes(self) -> tuple[str, ...]:
        """The usual mistakes that the findings point to."""
        found = {(finding.kind, finding.id) for finding in self.findings}
        if found >= _UNVERIFIED:
            return ("accepts anything: it does not verify, or answers 200 whatever happens",)
        return tuple(
            mistake
            for mistake, signs in _MISTAKES.items()
            if any((kind, case) in found for kind, cases in signs.items() for case in cases)
        )

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        told = f"{self.sent} deliveries in {self.seconds:.1f} s, {len(self.left_out)} cases not run"
        if self.findings:
            many = len(self.findings)
            wrong = "1 answer is wrong" if many == 1 else f"{many} answers are wrong"
            yield f"the endpoint is not safe: {wrong} ({told})"
        else:
            yield f"no answer is wrong: {told}"
        if self.unhandled:
            yield (
                f"{len(self.unhandled)} odd but genuine events made it fail, and were"
                f" not acknowledged: {', '.join(case.split()[0] for case in self.unhandled)}"
            )
        if self.findings:
            yield from self._table()

    def _table(self) -> Iterator[str]:
        if self.mistakes:
            yield "\nIt looks as if the endpoint"
            yield from (f"  - {mistake}" for mistake in self.mistakes)
        yield "\n" + _row("id", "sent", "answered", "must be", "why")
        for finding in self.findings:
            yield _row(finding.id, finding.title, finding.answered, finding.expected, finding.why)
            if len(printable(finding.answered)) > _WIDTHS["answered"]:
                whole = shorten(printable(finding.answered), _LONGEST_ANSWER, placeholder=" ...")
                yield f"{'':{_WIDTHS['id']}}  answered: {whole}"
        texts = decisions()
        named = {name for finding in self.findings for name in re.findall(r"D\d+", finding.why)}
        for name in sorted(named & texts.keys(), key=lambda name: int(name[1:])):
            yield f"\n{name}:\n{indent(texts[name], '  ')}"


def _row(*cells: str) -> str:
    padded = [
        shorten(printable(cell), width, placeholder="...").ljust(width)
        for cell, width in zip(cells, _WIDTHS.values(), strict=False)
    ]
    return "  ".join([*padded, cells[-1]])


# Unsigned, and signed with zeros.
_UNVERIFIED: Final = frozenset({(Kind.ACCEPTED, "HEAD-002"), (Kind.ACCEPTED, "HMAC-017")})

# The cases that are signs of a mistake, by what was wrong with the answer; any is enough.
_MISTAKES: Final[Mapping[str, Mapping[Kind, tuple[str, ...]]]] = MappingProxyType(
    {
        "accepts what is not signed": {Kind.ACCEPTED: ("HEAD-002",)},
        "does not check the timestamp": {Kind.ACCEPTED: ("TIME-014", "TIME-015")},
        "accepts timestamps from the future": {Kind.ACCEPTED: ("TIME-013", "TIME-019")},
        "takes one of two timestamps": {Kind.ACCEPTED: ("HEAD-028", "HEAD-029")},
        "reads the timestamp with int() or float()": {
            Kind.ACCEPTED: ("TIME-025", "TIME-026", "TIME-027", "TIME-029", "TIME-043")
        },
        "accepts what is signed with an empty secret": {Kind.ACCEPTED: ("HMAC-068",)},
        "accepts a part of a signature": {Kind.ACCEPTED: ("HMAC-007", "HMAC-008", "HMAC-009")},
        "accepts a signature that does not cover the timestamp": {
            Kind.ACCEPTED: ("HMAC-020", "TIME-060")
        },
        "verifies another body than the one received": {
            Kind.ACCEPTED: ("BODY-004", "BODY-008", "BODY-009", "BODY-010"),
            Kind.UNEXPECTED: ("BODY-005", "BODY-007"),
        },
        "reads the body before it has verified it": {
            Kind.UNEXPECTED: ("BODY-020", "BODY-036", "BODY-037")
        },
        "acknowledges what it cannot read": {Kind.ACCEPTED: ("BODY-001", "JSON-001", "JSON-080")},
        "takes bodies of any size": {Kind.ACCEPTED: ("BODY-033", "BODY-034")},
        "takes any method": {Kind.ACCEPTED: ("HTTP-005", "HTTP-006")},
        "fails on a header that is absent or not as expected": {
            Kind.FAILED: ("HEAD-002", "HEAD-006", "HEAD-009")
        },
        "fails on what is not ASCII in the header": {
            Kind.FAILED: ("HEAD-022", "HTTP-034", "TIME-049")
        },
        "fails on a body that is not UTF-8": {Kind.FAILED: ("BODY-019", "BODY-020")},
        "shows the secret or a signature": {Kind.LEAKED: ("HMAC-003", "HMAC-017")},
        "compares signatures with ==": {Kind.TIMING: ("COMPARE",)},
    }
)
