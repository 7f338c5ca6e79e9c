"""What an idempotency store must do: three verbs, and say what it would rather not wait for."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Protocol, TypeAlias

import msgspec

from karla_receiver.events import Event

__all__ = ["Claim", "ClaimState", "IdempotencyStore", "Key"]

# What makes two deliveries the same one, from the event; None: the raw body does.
Key: TypeAlias = Callable[[Event], str] | None


class ClaimState(StrEnum):
    """What a store knows of a key."""

    CLAIMED = "claimed"  # by this call: handle the delivery, then say done or release
    IN_PROGRESS = "in_progress"  # by somebody who has neither finished nor died yet
    DONE = "done"  # within the window


class Claim(msgspec.Struct, frozen=True):
    """The answer to a claim on a key. A customer's claim is a `ClaimEvent`.

    token: proves ownership to done and release; empty unless claimed.
    is_near_duplicate: the same occurrence was claimed under another key before, within the
    window: the sender rendered the same event anew, or two events look alike.
    """

    state: ClaimState
    token: str = ""
    is_near_duplicate: bool = False


class IdempotencyStore(Protocol):
    """Remembers which deliveries were handled. Safe for threads; the methods may be async.

    Every method raises StorageError if the store cannot be reached, within a second or two. A store
    may tell its `window`, as those of this package do: the receiver checks that a captured
    delivery does not outlive it. One
    that blocks may have claim_async, done_async and release_async beside them: an event loop
    awaits those, instead of calling the others in one of the threads that handlers use as well.
    """

    @property
    def key(self) -> Key:
        """What makes two deliveries the same one; None: the SHA-256 of the raw body."""
        ...

    @property
    def blocks(self) -> bool:
        """Whether a method may wait, for a disk or a network: then no event loop calls it."""
        ...

    def claim(self, key: str, occurrence: str) -> Claim:
        """Claim a key, in one step that no other claim can come between.

        occurrence: what `occurrence_key` says, for `is_near_duplicate`.
        A claim expires when its owner has not finished after the store's lease.
        """
        ...

    def done(self, key: str, token: str) -> None:
        """Remember the key as handled, for the window. Without effect if the claim was lost."""
        ...

    def release(self, key: str, token: str) -> None:
        """Forget the claim: the attempt failed. Without effect if the claim was lost."""
        ...
