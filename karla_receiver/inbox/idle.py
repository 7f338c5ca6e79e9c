"""Notices that deliveries wait and no worker is there: the one mistake that nothing else shows."""

from __future__ import annotations

import time
from sqlite3 import Connection
from typing import Final

from karla_receiver.inbox import workers
from karla_receiver.logs import logger

__all__ = ["IdleWatch"]

_EVERY_SECONDS: Final = 60.0


class IdleWatch:
    """Looks at most once a minute, within a transaction that is there anyway."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._next = 0.0

    def look(self, connection: Connection) -> None:
        """Log a warning if no worker is alive, unless it was looked for within the minute."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _EVERY_SECONDS
        if workers.alive(connection, self._endpoint, now):
            return
        logger.warning(
            "deliveries wait in the inbox and no worker is alive: run"
            " `karla-receiver work module:receiver`, or give the inbox workers=1"
        )
