"""A clock that shows what it was set to."""

from __future__ import annotations

import time

__all__ = ["SettableClock"]


class SettableClock:
    """A clock for a `Receiver` or `Verifier` in a test: it stands still until it is moved.

    now: unix seconds to start at; the present time, in whole seconds, if left out.
    """

    __slots__ = ("_now",)

    def __init__(self, now: float | None = None) -> None:
        self._now = float(int(time.time())) if now is None else float(now)

    def __call__(self) -> float:
        """Return the time it shows, in unix seconds."""
        return self._now

    def set(self, now: float) -> None:
        """Show another time, earlier or later, in unix seconds."""
        self._now = float(now)

    def advance(self, seconds: float) -> None:
        """Move on by so many seconds; back if they are negative."""
        self._now += seconds

    def __repr__(self) -> str:
        return f"SettableClock({self._now!r})"
