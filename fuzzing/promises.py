"""What a fuzzing target consists of, and the error that means: the fuzzer found something."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

ChangeBytes: TypeAlias = Callable[[bytes, int], bytes]
Change: TypeAlias = Callable[[bytes, int, int, ChangeBytes], bytes]


class PromiseError(AssertionError):
    """The package did what it promises never to do."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Something to fuzz.

    about: what it promises, in a line.
    check: raises for an input on which a promise is broken: PromiseError, or whatever escaped
    from the package. Returns what came out, for people who look at one input.
    all_seeds: the inputs to begin with.
    tokens: what inputs are made of, for the fuzzer to put in.
    max_bytes: the longest input worth trying.
    change: takes an input, the most bytes to return, a number to draw from and the fuzzer's own
    way to change bytes; None if that one is good enough.
    """

    name: str
    about: str
    check: Callable[[bytes], str]
    all_seeds: Callable[[], Sequence[bytes]]
    tokens: Sequence[bytes]
    max_bytes: int
    change: Change | None = None

    def seeds(self) -> list[bytes]:
        """Return the seeds that are not too long."""
        return [seed for seed in self.all_seeds() if len(seed) <= self.max_bytes]


def promise(kept: bool, broken: str) -> None:
    """Raise PromiseError with the text unless the promise is kept."""
    if not kept:
        raise PromiseError(broken)
