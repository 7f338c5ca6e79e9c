"""What the tests of observers share: one that keeps what it is told, and a store to tell of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from karla_receiver import Observation
from karla_receiver.idempotency import Claim

__all__ = ["Keeper", "Remembering"]


class Keeper:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.begun = 0
        self.told: list[Observation] = []

    def begin(self) -> Callable[[Observation], object]:
        self.begun += 1
        return self.told.append

    def attempts(self) -> list[tuple[str, bool, bool]]:
        """Return, of each attempt, the outcome, whether it is parked, and whether it was timed."""
        return [
            (seen.outcome, seen.is_parked, seen.handler_seconds is not None)
            for seen in self.told
            if seen.is_attempt
        ]


class Remembering:
    """An idempotency store that knows what it is told to know."""

    blocks = False
    key: Any = None

    def __init__(self, claim: Claim) -> None:
        self._claim = claim

    def claim(self, key: str, occurrence: str) -> Claim:
        return self._claim

    def done(self, key: str, token: str) -> None:
        """Forget it."""

    release = done
