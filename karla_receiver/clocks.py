"""The clocks that count where no other is given.

Each looks its function up when it is called, not when it is made the default of an argument: tools
such as freezegun put another one in its place for the time of a test.
"""

from __future__ import annotations

import time

__all__ = ["monotonic_clock", "wall_clock"]


def wall_clock() -> float:
    """Return unix seconds."""
    return time.time()


def monotonic_clock() -> float:
    """Return seconds that nobody can set."""
    return time.monotonic()
