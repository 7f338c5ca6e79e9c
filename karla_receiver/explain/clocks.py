"""What the time in a signature says about a clock, a unit or a delay."""

from __future__ import annotations

from typing import Final

from karla_receiver.explain.causes import Change, Code

__all__ = ["SMALLEST_SECONDS", "UNITS", "lateness"]

# Parts of a second that clocks count in, and the smallest count of seconds that means a date of
# ours (2001): no unit is mistaken for another.
UNITS: Final = (("milliseconds", 10**3), ("microseconds", 10**6), ("nanoseconds", 10**9))
SMALLEST_SECONDS: Final = 10**9

_HOUR = 3600
_MOST_HOURS = 14
_NEAR_SECONDS = 30


def lateness(timestamp: int | None, now: float, tolerance: float) -> tuple[Change, ...]:
    """Return what is wrong with the time of a genuine signature, if anything is.

    timestamp: unix seconds, if they could be read; now: when it was received.
    """
    if timestamp is None:
        return ()
    skew = now - timestamp
    if abs(skew) <= tolerance:
        return ()
    for name, per_second in UNITS:
        if SMALLEST_SECONDS <= timestamp // per_second < 10 * SMALLEST_SECONDS:
            return (Change(Code.TIMESTAMP_RESPELLED, f"t is in {name}, not in seconds"),)
    distance = f"{abs(skew):.1f} s {'after' if skew > 0 else 'before'} the time that was signed"
    evidence = f"received {distance}, where {tolerance:g} s are allowed"
    hours = round(skew / _HOUR)
    if 0 < abs(hours) <= _MOST_HOURS and abs(skew - hours * _HOUR) <= _NEAR_SECONDS:
        # Whole hours prove no clock wrong: what waits an hour looks the same.
        evidence += f": close to {abs(hours)} h"
    return (Change(Code.TOO_LATE if skew > 0 else Code.CLOCK_BEHIND, evidence),)
