"""What a claim costs, beside a floor of the same run.

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

import msgspec
from redis import Redis

from benchmarks.tables import Row, Table, figure, formatted
from karla_receiver.adapters.redis import RedisStore
from karla_receiver.idempotency import IdempotencyStore, MemoryStore

GOAL = 2.0  # times one hash, for a claim
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


def costs(store: IdempotencyStore, count: int) -> Iterator[tuple[str, float]]:
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


def hashing() -> float:
    """Return what one HMAC-SHA256 of 2 KB costs, which every delivery costs anyhow."""
    message = bytes(2048)
    return microseconds(lambda _: hmac.digest(b"secret", message, "sha256"), new_keys(), 300)


def claiming(rounds: int) -> Table:
    """Measure MemoryStore, empty, nearly full and full: how full is up to rounds."""
    most = 1_000_000 if rounds >= 1000 else 100_000
    rows: list[Row] = []
    for filling in (0, most * 9 // 10, most):
        store = MemoryStore(max_keys=most)
        for number in range(filling):
            store.done(str(number), store.claim(str(number), str(number)).token)
        for name, cost in costs(store, 300):
            floor = hashing()  # beside each, as a machine is not equally fast for long
            goal = GOAL if name.startswith("claim, ") else None
            full = "empty" if not filling else "full" if filling == most else "nine tenths full"
            row = figure(goal, f"MemoryStore: {name}, {full}", cost / floor)
            rows.append(msgspec.structs.replace(row, cost=cost, base=floor))
    title = f"`MemoryStore(max_keys={most:_})`, beside one hash of 2 KB"
    return Table("stores", title, tuple(rows))


def main() -> None:
    """Print the tables."""
    print(formatted(claiming(1000)))
    if len(sys.argv) > 1:
        with Redis.from_url(sys.argv[1], socket_timeout=5) as client:
            floor = microseconds(
                lambda key: client.set(f"bare:{key}", "1", nx=True, px=60_000), new_keys(), 200
            )
        print(f"\nRedisStore; floor {floor:.2f} µs")
        for name, cost in costs(RedisStore(sys.argv[1], prefix="benchmark"), 200):
            print(f"  {name:20} {cost:8.2f} µs {cost / floor:6.2f}")


if __name__ == "__main__":
    main()
