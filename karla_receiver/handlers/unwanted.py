"""Deliveries that no handler wants: acknowledged, but not in silence."""

from __future__ import annotations

from typing import Final

from karla_receiver.events import Event
from karla_receiver.observing import Observation, logs

__all__ = ["Unwanted"]

# Karla has some hundred refs. Whoever signs can make up any number, and each takes memory here.
_MOST_REFS: Final = 1000


class Unwanted:
    """Reports the deliveries that no handler of one receiver wants.

    The observer is told of each one. The log has a line for each ref that is new.
    """

    def __init__(self) -> None:
        self._logged: set[str] = set()

    async def report(self, event: Event, seen: Observation | None) -> None:
        """Report one delivery."""
        if seen is not None:
            seen.is_unwanted = True
        # Cut as in the log line, so that a long ref takes no more memory than it says there.
        name = logs.quoted(event.ref or event.event_group)
        if name in self._logged or len(self._logged) > _MOST_REFS:
            return
        self._logged.add(name)
        if len(self._logged) <= _MOST_REFS:
            logs.unwanted(event)
        else:
            logs.too_many_unwanted(_MOST_REFS)
