"""The contract, run against every store."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from karla_receiver.adapters.redis import RedisStore
from karla_receiver.idempotency import IdempotencyStore, MemoryStore, SQLiteStore
from tests.idempotency.contract import Kit, StoreContract
from tests.many_machines.redis_server import RedisServer, running_redis


class MemoryKit:
    is_shared = False

    def __init__(self) -> None:
        self._now = 0.0

    def make(self, **options: Any) -> IdempotencyStore:
        return MemoryStore(clock=lambda: self._now, **options)

    def pass_time(self, seconds: float) -> None:
        self._now += seconds


class RedisKit:
    is_shared = True

    def __init__(self, server: RedisServer) -> None:
        self._url = server.patient_url
        self._client = server.client()

    def make(self, **options: Any) -> IdempotencyStore:
        return RedisStore(self._url, **options)

    def pass_time(self, seconds: float) -> None:
        """Shorten every key's life: to Redis that is the same as being older."""
        for name in self._client.scan_iter():
            left: Any = self._client.pttl(name)
            self._client.pexpire(name, left - round(seconds * 1000))


class SQLiteKit:
    is_shared = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self._now = 1_000_000.0
        self._made: list[SQLiteStore] = []

    def make(self, **options: Any) -> IdempotencyStore:
        store = SQLiteStore(self._path, clock=self._clock, monotonic=self._clock, **options)
        self._made.append(store)
        return store

    def pass_time(self, seconds: float) -> None:
        self._now += seconds

    def close(self) -> None:
        for store in self._made:
            store.close()

    def _clock(self) -> float:
        return self._now


@pytest.fixture(scope="module", params=["memory", "sqlite", "redis"])
def kit(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Generator[Kit]:
    if request.param == "memory":
        yield MemoryKit()
    elif request.param == "sqlite":
        sqlite = SQLiteKit(tmp_path_factory.mktemp("store") / "karla.db")
        yield sqlite
        sqlite.close()
    else:
        with running_redis() as server:
            yield RedisKit(server)


class TestStore(StoreContract):
    """Collects the contract here, once for each kit."""
