"""What a claim costs: microseconds, and the ratio to a floor of the same run.

Usage: python -m benchmarks.stores [REDIS_URL]

The floor of MemoryStore is one HMAC-SHA256 of 2 KB, which every delivery costs anyhow; that of
RedisStore one SET NX over the same connection, which would claim and do nothing else.
"""

from __future__ import annotations

import hmac
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from hashlib import sha256

from redis import Redis

from karla_receiver.adapters.redis import RedisStore
from karla_receiver.idempotency import IdempotencyStore, MemoryStore

ROUNDS = 60  # short ones: the best of them were disturbed least


def microseconds(work: Callable[[str], object], keys: Iterator[str], count: int) -> float:
    """Return what work costs for a key that it has not seen, in the best of several rounds."""
    times: list[float] = []
    for _ in range(ROUNDS):
        batch = list(itertools.islice(keys, count))
        start = time.perf_counter()
        for key in batch:
            work(key)
        times.append((time.perf_counter() - start) / count)
    return min(times) * 1e6


def new_keys() -> Iterator[str]:
    """Yield keys as deliveries have them."""
    return (sha256(str(number).encode()).hexdigest() for number in itertools.count())


def rows(store: IdempotencyStore, count: int) -> Iterator[tuple[str, float]]:
    """Measure the verbs of a store."""
    keys = new_keys()
    yield "claim, new", microseconds(lambda key: store.claim(key, key), keys, count)
    held = next(keys)
    token = store.claim(held, held).token
    yield "claim, in progress", microseconds(lambda _: store.claim(held, held), keys, count)
    store.done(held, token)
    yield "claim, done", microseconds(lambda _: store.claim(held, held), keys, count)
    yield (
        "claim and done",
        microseconds(lambda key: store.done(key, store.claim(key, key).token), keys, count),
    )


def show(title: str, floor: float, store: IdempotencyStore, count: int) -> None:
    """Print the table of one store."""
    print(f"{title}; floor {floor:.2f} µs")
    for name, cost in rows(store, count):
        print(f"  {name:20} {cost:8.2f} µs {cost / floor:6.2f}")


def main() -> None:
    """Print the tables."""
    message = bytes(2048)
    hashed = microseconds(lambda _: hmac.digest(b"secret", message, "sha256"), new_keys(), 300)
    for filling, most in [(0, 1_000_000), (900_000, 1_000_000), (100_000, 100_000)]:
        store = MemoryStore(max_keys=most)
        for number in range(filling):
            store.done(str(number), store.claim(str(number), str(number)).token)
        show(f"MemoryStore with {filling:,} keys of {most:,}", hashed, store, 300)
    if len(sys.argv) > 1:
        with Redis.from_url(sys.argv[1], socket_timeout=5) as client:
            bare = microseconds(
                lambda key: client.set(f"bare:{key}", "1", nx=True, px=60_000), new_keys(), 200
            )
        show("RedisStore", bare, RedisStore(sys.argv[1], prefix="benchmark"), 200)


if __name__ == "__main__":
    main()
