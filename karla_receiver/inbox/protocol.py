"""What an inbox must do: keep a verified delivery, durably, before it is acknowledged."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from karla_receiver.delivery import Delivery
from karla_receiver.events import Event
from karla_receiver.handlers.calling import AfterEach
from karla_receiver.idempotency.protocol import Key
from karla_receiver.observing import Observation, Observer
from karla_receiver.signature import Verified

__all__ = ["EventHandler", "Inbox", "Novelty"]


class Novelty(StrEnum):
    """Whether an inbox knew of a delivery before it was put in."""

    NEW = "new"
    NEAR_DUPLICATE = "near_duplicate"  # new, but it tells of an occurrence that another one told of
    DUPLICATE = "duplicate"  # one with its key is there, and so it was not kept again


class EventHandler(Protocol):
    """What an inbox's worker needs of a receiver."""

    @property
    def observer(self) -> Observer | None:
        """To be told of each attempt; see `karla_receiver.observing.attempt`."""
        ...

    def handle(
        self, event: Event, seen: Observation | None = None, after_each: AfterEach | None = None
    ) -> None:
        """Call every handler that wants event; see `Receiver.handle`."""

    def note_loop(self) -> bool:
        """Take the event loop that runs in this thread, if any, for that of async handlers."""
        ...

    def verify_kept(self, delivery: Delivery) -> Verified:
        """Verify a kept delivery as at its receipt; see `Receiver.verify_kept`."""
        ...


class Inbox(Protocol):
    """Keeps deliveries for a worker. Safe for threads, several event loops, and fork."""

    @property
    def key(self) -> Key:
        """What makes two deliveries the same one; None: the SHA-256 of the raw body."""
        ...

    def attach(self, receiver: EventHandler) -> None:
        """Take the receiver whose handlers are to be called; by the receiver, when it is made."""

    def put(self, delivery: Delivery) -> Novelty:
        """Return when delivery is kept as durably as the inbox promises.

        One with a problem is kept apart, for an operator. Raises StorageError if it could not
        be kept.
        """
        ...

    async def put_async(self, delivery: Delivery) -> Novelty:
        """Same as `put`, without ever blocking the event loop."""
        ...
