"""What a benchmark says: rows of ratios with their goals, and when one is a gross loss."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from benchmarks.slices import Samples, ratio

__all__ = [
    "Row",
    "Run",
    "Table",
    "at_least",
    "at_most",
    "by_medians",
    "figure",
    "formatted",
    "gross_losses",
    "recorded_ratios",
]

_GROSS = 2.0  # times worse than recorded: what no noise explains


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One ratio.

    best: of the least costs of both sides. median: of all pairs of slices or rounds.
    goal: to be reached by best; a ratio of cost is at most that, one of speed at least.
    cost, base: microseconds of the subject and of what it is compared with, at the best.
    series, x: where it stands in a plot.
    """

    name: str
    best: float
    median: float
    goal: float | None = None
    is_speed: bool = False
    cost: float | None = None
    base: float | None = None
    series: str = ""
    x: float = 0.0

    @property
    def is_met(self) -> bool:
        """Whether the goal is reached; true where there is none."""
        if self.goal is None:
            return True
        # As precise as it is printed: a third digit is noise.
        best = round(self.best, 2)
        return best >= self.goal if self.is_speed else best <= self.goal


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
    return {row.name: row.best for table in tables for row in table.rows}


def at_most(
    goal: float | None,
    name: str,
    subject: Samples,
    base: Samples,
    *,
    series: str = "",
    x: float = 0.0,
) -> Row:
    """Compare costs: how many times base the subject costs."""
    best, median = ratio(subject, base)
    return Row(
        name=name,
        best=best,
        median=median,
        goal=goal,
        cost=subject.best * 1e6,
        base=base.best * 1e6,
        series=series,
        x=x,
    )


def at_least(goal: float | None, name: str, subject: Samples, base: Samples) -> Row:
    """Compare speeds: how many times as fast as base the subject is."""
    best, median = ratio(base, subject)
    return Row(
        name=name,
        best=best,
        median=median,
        goal=goal,
        is_speed=True,
        cost=subject.best * 1e6,
        base=base.best * 1e6,
    )


def by_medians(goal: float | None, name: str, subject: Samples, base: Samples) -> Row:
    """Compare differences, which have no least that means anything: by their medians.

    The first of the samples is the difference of the best, and stands as the second opinion.
    """
    return Row(
        name=name,
        best=subject.median / base.median,
        median=subject.seconds[0] / base.seconds[0],
        goal=goal,
        cost=subject.median * 1e6,
        base=base.median * 1e6,
    )


def figure(goal: float | None, name: str, value: float, *, is_speed: bool = False) -> Row:
    """Make a row of a ratio that was measured once."""
    return Row(name=name, best=value, median=value, goal=goal, is_speed=is_speed)


def formatted(table: Table) -> str:
    """Return the table in Markdown."""
    lines = [
        f"### {table.title}",
        "",
        "| what | ratio | median | goal | µs | beside µs |",
        "|---|--:|--:|--:|--:|--:|",
        *map(_line, table.rows),
    ]
    return "\n".join(lines)


def _line(row: Row) -> str:
    sign = "≥" if row.is_speed else "≤"
    goal = "" if row.goal is None else f"{sign} {row.goal:g}{'' if row.is_met else ', missed'}"
    cost, base = ("" if each is None else f"{each:,.2f}" for each in (row.cost, row.base))
    return f"| {row.name} | {row.best:.2f} | {row.median:.2f} | {goal} | {cost} | {base} |"


def gross_losses(tables: Iterable[Table], recorded: Mapping[str, float]) -> list[str]:
    """Return what is more than twice as bad as recorded, or as its goal if that is worse.

    recorded: earlier ratios by the row's name. A row that has neither a goal nor a record is
    not judged. The better one of best and median counts: a loss shows in both.
    """
    losses: list[str] = []
    for table in tables:
        for row in table.rows:
            limit = _limit(row, recorded.get(row.name))
            if limit is None:
                continue
            if row.is_speed:
                is_lost = max(row.best, row.median) < limit
            else:
                is_lost = min(row.best, row.median) > limit
            if is_lost:
                losses.append(f"{row.name}: {row.best:.2f}, where {limit:.2f} is the limit")
    return losses


def _limit(row: Row, recorded: float | None) -> float | None:
    known = [each for each in (row.goal, recorded) if each is not None]
    if not known:
        return None
    return min(known) / _GROSS if row.is_speed else max(known) * _GROSS
