"""What a check of an endpoint found, as data and as a table to read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from textwrap import indent, shorten
from types import MappingProxyType
from typing import Final

from karla_receiver.testing.attacks import decisions

__all__ = ["Finding", "SafetyReport"]

_WIDTHS: Final = {"id": 9, "title": 46, "answered": 22, "expected": 22}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """An answer that is not right.

    id, title: of what was sent; answered, expected: for people; why: what the rule is there for.
    """

    id: str
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
    seconds: how long it took.
    """

    findings: tuple[Finding, ...]
    sent: int
    left_out: tuple[str, ...]
    seconds: float

    @property
    def mistakes(self) -> tuple[str, ...]:
        """The usual mistakes that the findings point to."""
        found = {finding.id for finding in self.findings}
        return tuple(mistake for mistake, signs in _MISTAKES.items() if found & signs)

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        told = f"{self.sent} deliveries in {self.seconds:.1f} s, {len(self.left_out)} cases not run"
        if not self.findings:
            yield f"no answer is wrong: {told}"
            return
        yield f"the endpoint is not safe: {len(self.findings)} answers are wrong ({told})"
        if self.mistakes:
            yield "\nIt looks as if the endpoint"
            yield from (f"  - {mistake}" for mistake in self.mistakes)
        yield "\n" + _row("id", "sent", "answered", "must be", "why")
        for finding in self.findings:
            yield _row(
                finding.id, finding.title, finding.answered, finding.expected, finding.why
            )
        texts = decisions()
        named = {name for finding in self.findings for name in re.findall(r"D\d+", finding.why)}
        for name in sorted(named & texts.keys(), key=lambda name: int(name[1:])):
            yield f"\n{name}:\n{indent(texts[name], '  ')}"


def _row(*cells: str) -> str:
    padded = [
        shorten(ascii(cell)[1:-1], width, placeholder="...").ljust(width)
        for cell, width in zip(cells, _WIDTHS.values(), strict=False)
    ]
    return "  ".join([*padded, cells[-1]])


# Which findings are the signs of which mistake; any of them is enough.
_MISTAKES: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "does not verify at all": frozenset({"HEAD-002"}),
        "does not check the timestamp": frozenset({"TIME-014", "TIME-015"}),
        "accepts timestamps from the future": frozenset({"TIME-013", "TIME-019"}),
        "lets a second t decide, or takes the first and signs the last": frozenset(
            {"HEAD-028", "HEAD-029"}
        ),
        "parses the timestamp with int() or float()": frozenset(
            {"TIME-025", "TIME-026", "TIME-027", "TIME-029", "TIME-031", "TIME-043"}
        ),
        "accepts what is signed with an empty secret": frozenset({"HMAC-068"}),
        "parses the body before it verifies it": frozenset({"BODY-020", "BODY-036", "BODY-037"}),
        "verifies a body that was parsed and written anew": frozenset(
            {"BODY-005", "BODY-008", "BODY-009", "BODY-010", "JSON-031"}
        ),
        "fails on a body or header that is not UTF-8": frozenset(
            {"BODY-019", "HEAD-022", "HTTP-034", "TIME-049"}
        ),
        "acknowledges what it cannot read": frozenset({"JSON-001", "BODY-001"}),
        "takes bodies of any size": frozenset({"BODY-033", "BODY-034"}),
        "compares signatures with ==": frozenset({"COMPARE"}),
    }
)
