"""What an inbox must do: keep a verified delivery, durably, before it is acknowledged."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from karla_receiver.delivery import Delivery
from karla_receiver.handlers import Handlers
from karla_receiver.idempotency.protocol import Key
from karla_receiver.observing import Observer
from karla_receiver.signature import Verifier

__all__ = ["Inbox", "Novelty"]


class Novelty(StrEnum):
    """Whether an inbox knew of a delivery before it was put in."""

    NEW = "new"
    NEAR_DUPLICATE = "near_duplicate"  # new, but it tells of an occurrence that another one told of
    DUPLICATE = "duplicate"  # one with its key is there, and so it was not kept again


class Inbox(Protocol):
    """Keeps deliveries for a worker. Safe for threads, several event loops, and fork."""

    @property
    def key(self) -> Key:
        """What makes two deliveries the same one; None: the SHA-256 of the raw body."""
        ...

    def attach(self, handlers: Handlers, verifier: Verifier, observer: Observer | None) -> None:
        """Take what a worker needs; called by the receiver, when it is made.

        handlers: to be called with each event; see `Handlers.handle`. verifier: to verify once more
        what others could write to. observer: to be told of each attempt; see `observing.attempt`.
        """

    def put(self, delivery: Delivery) -> Novelty:
        """Return when delivery is kept as durably as the inbox promises.

        One with a problem is kept apart, for an operator. Raises StorageError if it could not
        be kept.
        """
        ...

    async def put_async(self, delivery: Delivery) -> Novelty:
        """Same as `put`, without ever blocking the event loop."""
        ...
