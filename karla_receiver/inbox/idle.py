"""Notices that deliveries wait and nobody handles them: the one mistake that nothing else shows."""

from __future__ import annotations

import time
from collections.abc import Callable
from sqlite3 import Connection
from typing import Final

from karla_receiver.inbox import rows, workers
from karla_receiver.observing.logs import logger

__all__ = ["IdleWatch"]

_EVERY_SECONDS: Final = 60.0


class IdleWatch:
    """Looks at most once a minute, within a transaction that is there anyway.

    clock: returns unix seconds. expects_others: whether this process has no worker of its own.
    """

    def __init__(self, endpoint: str, clock: Callable[[], float], *, expects_others: bool) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self._expects_others = expects_others
        self._next = 0.0
        self._last = 0.0
        self._first_due: tuple[int, int] | None = None

    def look(self, connection: Connection) -> None:
        """Log a warning if no worker is alive, or if none has taken anything since the last look.

        Without effect within a minute of the last look.
        """
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _EVERY_SECONDS
        first_due = rows.find_first_due(connection, self._endpoint, self._clock())
        if self._expects_others and not workers.alive(connection, self._endpoint, now):
            logger.warning(
                "deliveries wait in the inbox and no worker is alive: run"
                " `karla-receiver work module:receiver`, or give the inbox workers=1"
            )
        elif first_due is not None and first_due == self._first_due:
            logger.warning(
                "deliveries wait in the inbox and no worker has taken one for %.0f s: its handlers"
                " hang or are slow, or the server stops its threads between requests",
                now - self._last,
            )
        self._first_due, self._last = first_due, now
