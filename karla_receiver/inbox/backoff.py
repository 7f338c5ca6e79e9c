"""How long a failed delivery waits for its next attempt."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec

__all__ = ["Backoff"]


class Backoff(msgspec.Struct, frozen=True, kw_only=True):
    """Twice as long after each attempt, up to a limit, and each time a different part of that.

    first, longest: seconds. chance: returns a number from 0 to 1; without it, what failed
    together would come back together.
    """

    first: float = 5.0
    longest: float = 3600.0
    chance: Callable[[], float] = random.random

    def wait(self, attempt: int) -> float:
        """Return the seconds to wait after that attempt, the first being 1."""
        # Between bounds: the number may come from a broker, and a huge power takes minutes.
        doublings = max(0, min(attempt - 1, 60))
        full = min(self.longest, self.first * 2.0**doublings)
        return full * (0.5 + self.chance() / 2)
