"""Waits for what must come, with a limit that only a failure reaches."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

__all__ = ["PATIENCE_SECONDS", "until"]

# Long, for a busy machine may be a hundred times slower than a quiet one.
PATIENCE_SECONDS: Final = 60.0


def until(
    condition: Callable[[], object],
    what: str = "what the test waits for",
    *,
    seconds: float = PATIENCE_SECONDS,
) -> None:
    """Return when condition holds. Raises AssertionError with what if it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.005)
