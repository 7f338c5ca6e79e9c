"""Handle each delivery once: the stores that remember which were handled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from karla_receiver.idempotency.keys import occurrence_key
from karla_receiver.idempotency.memory import MemoryStore
from karla_receiver.idempotency.protocol import Claim, ClaimState, IdempotencyStore, Key

if TYPE_CHECKING:
    from karla_receiver.idempotency.sqlite import SQLiteStore

__all__ = [
    "Claim",
    "ClaimState",
    "IdempotencyStore",
    "Key",
    "MemoryStore",
    "SQLiteStore",
    "occurrence_key",
]


def __getattr__(name: str) -> Any:
    # Not at the top: every receiver with a store or an inbox imports this, and not all need SQLite.
    if name != "SQLiteStore":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from karla_receiver.idempotency.sqlite import SQLiteStore

    return SQLiteStore
