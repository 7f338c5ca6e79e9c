"""When to make a call again, and how long to wait before. Waits for nothing itself."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

import msgspec

from karla_receiver.checks import checked_seconds, wall_clock
from karla_receiver.errors import ConfigurationError
from karla_receiver.registration.calls import Call
from karla_receiver.registration.responses import APIResponse, CallResult, NoResponse

__all__ = ["LONGEST_WAIT", "Retries"]

LONGEST_WAIT: Final = 86_400  # a day: clocks and sockets take it, and nobody waits for longer

_PASSING = frozenset({500, 502, 503, 504})
_TOO_MANY = 429


class Retries(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how fast a failed call is made again.

    attempts: at most, 1 for no retry. first_wait: seconds before the second attempt; each
    further wait is up to twice as long. longest_wait: seconds, at most a day; where Karla asks
    for longer (Retry-After), the call fails at once and says so.
    Raises ConfigurationError for values that make no sense.
    """

    attempts: int = 4
    first_wait: float = 0.5
    longest_wait: float = 30

    def __post_init__(self) -> None:
        if type(self.attempts) is not int or self.attempts < 1:
            raise ConfigurationError("attempts must be a whole number, 1 or more")
        for name in ("first_wait", "longest_wait"):
            checked_seconds(
                name, getattr(self, name), least=0, most=LONGEST_WAIT, limits="0 to a day"
            )

    def wait_after(
        self,
        result: CallResult,
        call: Call,
        attempt: int,
        *,
        jitter: Callable[[], float] = random.random,
        clock: Callable[[], float] = wall_clock,
    ) -> float | None:
        """Return the seconds to wait before the next attempt; None if there is to be none.

        attempt: the number of the one that came to result, from 1. jitter: returns 0 to 1, so
        that clients which failed together do not come back together.
        """
        if attempt >= self.attempts or not _is_worth_another(result, call):
            return None
        # The doubling stops early: a float overflows after a thousand attempts.
        longest = min(self.longest_wait, self.first_wait * 2.0 ** min(attempt - 1, 30))
        wait = longest * (0.5 + 0.5 * jitter())
        asked = result.retry_after(clock) if isinstance(result, APIResponse) else None
        if asked is None:
            return wait
        return max(wait, asked) if asked <= self.longest_wait else None


def _is_worth_another(result: CallResult, call: Call) -> bool:
    if isinstance(result, NoResponse):
        return not result.is_lasting and (call.is_repeatable or not result.may_be_done)
    # A call that Karla counted and refused was not carried out, whatever it is.
    return result.status == _TOO_MANY or (call.is_repeatable and result.status in _PASSING)
