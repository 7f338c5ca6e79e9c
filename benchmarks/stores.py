"""What MemoryStore adds to a delivery and to a copy, beside one hash of 2 KB."""

from __future__ import annotations

import itertools

from benchmarks.deliveries import BODY, hash_floor
from benchmarks.slices import Work, time_slices
from benchmarks.tables import Table, at_most
from karla_receiver.idempotency import MemoryStore

__all__ = ["claiming"]


def claiming(rounds: int) -> Table:
    """Measure a store of a million keys, or fewer if rounds are few, when it is new and full."""
    most = 1_000_000 if rounds >= 1000 else 100_000
    full = MemoryStore(max_keys=most)
    handle = _handled(full)
    for _ in range(most):
        handle()
    full.done("copied", full.claim("copied", "copied").token)
    taken = time_slices(
        {
            "hash": hash_floor(BODY),
            "new": _handled(MemoryStore(max_keys=most)),
            "full": handle,
            "copy": lambda: full.claim("copied", "copied"),
        },
        rounds // 4,  # a new store stays far from full
    )
    names = {
        "new": "a delivery, claimed and done, in a new store",
        "full": "a delivery, claimed and done, in a full store",
        "copy": "a copy of one that is done, in a full store",
    }
    rows = [at_most(2, name, taken[key], taken["hash"]) for key, name in names.items()]
    return Table("stores", "`MemoryStore`, beside one hash of 2 KB", tuple(rows))


def _handled(store: MemoryStore) -> Work:
    keys = map(str, itertools.count())

    def work() -> None:
        key = next(keys)
        store.done(key, store.claim(key, key).token)

    return work
