"""Handle each delivery once: the stores that remember which were handled."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from karla_receiver.idempotency.keys import occurrence_key
from karla_receiver.idempotency.protocol import Claim, ClaimState, IdempotencyStore, Key

if TYPE_CHECKING:
    from karla_receiver.idempotency.memory import MemoryStore
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


_STORES: Final = {"MemoryStore": "memory", "SQLiteStore": "sqlite"}


def __getattr__(name: str) -> Any:
    # Not at the top: every receiver imports this, and most need one store, or none.
    if name not in _STORES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_STORES[name]}"), name)
