"""The contract, run against every store."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from karla_receiver.adapters.redis import RedisStore
from karla_receiver.idempotency import IdempotencyStore, MemoryStore
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
        self._url = server.url
        self._client = server.client()

    def make(self, **options: Any) -> IdempotencyStore:
        return RedisStore(self._url, **options)

    def pass_time(self, seconds: float) -> None:
        """Shorten every key's life: to Redis that is the same as being older."""
        for name in self._client.scan_iter():
            left: Any = self._client.pttl(name)
            self._client.pexpire(name, left - round(seconds * 1000))


@pytest.fixture(scope="module", params=["memory", "redis"])
def kit(request: pytest.FixtureRequest) -> Generator[Kit]:
    if request.param == "memory":
        yield MemoryKit()
    else:
        with running_redis() as server:
            yield RedisKit(server)


class TestStore(StoreContract):
    """Collects the contract here, once for each kit."""
