"""What an inbox must do: keep a verified delivery, durably, before it is acknowledged."""

from __future__ import annotations

from typing import Protocol

from karla_receiver.delivery import Delivery
from karla_receiver.idempotency.protocol import Key

__all__ = ["Inbox"]


class Inbox(Protocol):
    """Keeps deliveries for a worker. Safe for threads, several event loops, and fork."""

    @property
    def key(self) -> Key:
        """What makes two deliveries the same one; None: the SHA-256 of the raw body."""
        ...

    def put(self, delivery: Delivery) -> bool:
        """Return when delivery is kept as durably as the inbox promises.

        True if it is new, False if one with its key is there already. One with a problem is
        kept apart, for an operator. Raises StorageError if it could not be kept.
        """
        ...

    async def put_async(self, delivery: Delivery) -> bool:
        """Same as `put`, without ever blocking the event loop."""
        ...
