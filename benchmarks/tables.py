"""What a benchmark says: rows of ratios with their goals, and when one is a gross loss."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

import msgspec

__all__ = [
    "Row",
    "Run",
    "Table",
    "at_most",
    "figure",
    "formatted",
    "gross_losses",
    "recorded_ratios",
]

_GROSS = 2.0  # times worse than recorded: what no noise explains


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One ratio.

    ratio: of costs, so that less is better; of speeds, so that more is better, if is_speed.
    goal: the most that a ratio of costs may be, or the least that one of speeds may be.
    cost, base: microseconds of the subject, and of what it is compared with.
    """

    name: str
    ratio: float
    goal: float | None = None
    is_speed: bool = False
    cost: float | None = None
    base: float | None = None

    @property
    def is_met(self) -> bool:
        """Whether the goal is reached; true where there is none."""
        if self.goal is None:
            return True
        # As precise as it is printed: a third digit is noise.
        ratio = round(self.ratio, 2)
        return ratio >= self.goal if self.is_speed else ratio <= self.goal


class Table(msgspec.Struct, frozen=True):
    """The rows of one benchmark, and what they are ratios to."""

    name: str
    title: str
    rows: tuple[Row, ...]


class Run(msgspec.Struct, frozen=True):
    """All tables of one run, and the machine that they are from."""

    machine: dict[str, str]
    tables: tuple[Table, ...]


def recorded_ratios(run: bytes) -> dict[str, float]:
    """Return the ratios of a run that was written as JSON, by the row's name."""
    tables = msgspec.json.decode(run, type=Run).tables
    return {row.name: row.ratio for table in tables for row in table.rows}


def at_most(goal: float | None, name: str, subject: Sequence[float], base: Sequence[float]) -> Row:
    """Compare costs: how many times base the subject costs, in seconds, in the median round."""
    pairs = zip(subject, base, strict=True)
    ratio = statistics.median(one / other for one, other in pairs)
    cost, beside = (statistics.median(each) * 1e6 for each in (subject, base))
    return Row(name=name, ratio=ratio, goal=goal, cost=cost, base=beside)


def figure(goal: float | None, name: str, value: float, *, is_speed: bool = False) -> Row:
    """Make a row of a ratio that was measured once."""
    return Row(name=name, ratio=value, goal=goal, is_speed=is_speed)


def formatted(table: Table) -> str:
    """Return the table in Markdown."""
    lines = [
        f"### {table.title}",
        "",
        "| what | ratio | goal | µs | beside µs |",
        "|---|--:|--:|--:|--:|",
        *map(_line, table.rows),
    ]
    return "\n".join(lines)


def _line(row: Row) -> str:
    sign = "≥" if row.is_speed else "≤"
    goal = "" if row.goal is None else f"{sign} {row.goal:g}{'' if row.is_met else ', missed'}"
    cost, base = ("" if each is None else f"{each:,.2f}" for each in (row.cost, row.base))
    return f"| {row.name} | {row.ratio:.2f} | {goal} | {cost} | {base} |"


def gross_losses(tables: Iterable[Table], recorded: Mapping[str, float]) -> list[str]:
    """Return what is more than twice as bad as recorded, or as its goal if that is worse.

    recorded: earlier ratios by the row's name. A row that has neither a goal nor a record is
    not judged.
    """
    losses: list[str] = []
    for table in tables:
        for row in table.rows:
            limit = _limit(row, recorded.get(row.name))
            if limit is None:
                continue
            if row.ratio < limit if row.is_speed else row.ratio > limit:
                losses.append(f"{row.name}: {row.ratio:.2f}, where {limit:.2f} is the limit")
    return losses


def _limit(row: Row, recorded: float | None) -> float | None:
    known = [each for each in (row.goal, recorded) if each is not None]
    if not known:
        return None
    return min(known) / _GROSS if row.is_speed else max(known) * _GROSS
