"""Handle each delivery once: the stores that remember which were handled."""

from __future__ import annotations

from karla_receiver.idempotency.keys import occurrence_key
from karla_receiver.idempotency.memory import MemoryStore
from karla_receiver.idempotency.protocol import Claim, ClaimState, IdempotencyStore, Key

__all__ = ["Claim", "ClaimState", "IdempotencyStore", "Key", "MemoryStore", "occurrence_key"]
