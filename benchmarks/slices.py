"""Timing that holds on a busy machine: many short slices of each subject, in turn.

CPU time leaves out what other processes take, but not what they do to caches and clock rates. That
disturbs some subjects more than others, so only the quietest rounds count. pyperf and
pytest-benchmark time one subject after the other, and so would compare two states of the machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import repeat
from typing import TypeAlias

__all__ = ["Work", "time_slices"]

Work: TypeAlias = Callable[[], object]

_SLICE_SECONDS = 150e-6
_MOST_CALLS = 60


def time_slices(subjects: Mapping[str, Work], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of CPU that a call of each subject took, in the quietest rounds.

    Those are a quarter of all. In a round each subject has one slice: as many calls as take 150 µs,
    at least 1 and at most 60. The cost of calling nothing is taken off.
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
    spent = [sum(times) for times in zip(*taken.values(), strict=True)]
    quiet = sorted(range(rounds), key=spent.__getitem__)[: max(1, rounds // 4)]
    return {name: [times[number] - idle for number in quiet] for name, times in taken.items()}


def _nothing() -> None:
    """Cost what every call costs."""


def _calls(work: Work) -> int:
    work()  # fills caches
    once = min(_slice(work, 3) for _ in range(3))
    return max(1, min(_MOST_CALLS, int(_SLICE_SECONDS / once)))


def _slice(work: Work, calls: int) -> float:
    times = repeat(None, calls)
    start = time.process_time()
    for _ in times:
        work()
    return (time.process_time() - start) / calls
