"""Timing that holds on a busy machine: many short slices of each subject, in turn.

A slice is too short to be interrupted often, so that the least of many is the cost without
neighbours; and what disturbs for longer disturbs all subjects, so that the ratio of slices that
stand side by side is right even then.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from typing import TypeAlias

import msgspec

__all__ = ["Samples", "Work", "added", "ratio", "time_slices"]

Work: TypeAlias = Callable[[], object]

_SLICE_SECONDS = 150e-6
_MOST_CALLS = 60


class Samples(msgspec.Struct, frozen=True):
    """What a call of one subject took in each slice or round, in seconds."""

    seconds: Sequence[float]

    @property
    def best(self) -> float:
        """The least."""
        return min(self.seconds)

    @property
    def median(self) -> float:
        """The median."""
        return statistics.median(self.seconds)


def ratio(subject: Samples, base: Samples) -> tuple[float, float]:
    """Return how many times base the subject costs: by the best, and the median of all pairs."""
    pairs = zip(subject.seconds, base.seconds, strict=True)
    return subject.best / base.best, statistics.median(one / other for one, other in pairs)


def added(subject: Samples, base: Samples) -> Samples:
    """Return what the subject costs beyond base: the difference of the best, then of each pair."""
    pairs = zip(subject.seconds, base.seconds, strict=True)
    return Samples([subject.best - base.best, *(one - other for one, other in pairs)])


def time_slices(subjects: Mapping[str, Work], rounds: int) -> dict[str, Samples]:
    """Time all subjects in turn, so many rounds, less the cost of calling nothing.

    A slice is as many calls as take 150 µs, at least 1 and at most 60.
    """
    works: dict[str, Work] = {"": _nothing, **subjects}
    calls = {name: _calls(work) for name, work in works.items()}
    taken: dict[str, list[float]] = {name: [] for name in works}
    names = list(works)
    for _ in range(rounds):
        for name in names:
            taken[name].append(_slice(works[name], calls[name]))
        names.reverse()  # each comes before its neighbour as often as after it, with caches filled
    idle = min(taken.pop(""))
    return {name: Samples([each - idle for each in times]) for name, times in taken.items()}


def _nothing() -> None:
    """Cost what every call costs."""


def _calls(work: Work) -> int:
    work()  # fills caches
    once = min(_slice(work, 3) for _ in range(3))
    return max(1, min(_MOST_CALLS, int(_SLICE_SECONDS / once)))


def _slice(work: Work, calls: int) -> float:
    times = repeat(None, calls)
    start = time.perf_counter()
    for _ in times:
        work()
    return (time.perf_counter() - start) / calls
