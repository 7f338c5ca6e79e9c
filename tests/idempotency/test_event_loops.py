"""Many deliveries at once on an event loop: each is answered soon, whatever its store waits for."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from karla_receiver import Event, Receiver, Request
from karla_receiver.adapters.redis import RedisStore
from karla_receiver.errors import StorageError
from karla_receiver.idempotency import ClaimState, IdempotencyStore, SQLiteStore
from tests.idempotency.contract import in_child
from tests.many_machines.redis_server import RedisServer, running_redis
from tests.signing import SECRET, signed
from tests.waiting import PATIENCE_SECONDS, until

pytestmark = pytest.mark.filterwarnings("ignore::BytesWarning:redis")

# Both stores promise about a second. Behind the threads that all share, so many would wait for half
# a minute or more: what lies between is for a busy machine.
MANY = 400
SOON_SECONDS = 15


@pytest.fixture(scope="module")
def server() -> Generator[RedisServer]:
    with running_redis() as running:
        yield running


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "karla.db"


def request(number: int) -> Request:
    body = json.dumps({"event_group": "parcel", "n": number}).encode()
    return signed(body)


def answers(store: IdempotencyStore, count: int) -> tuple[set[int], float]:
    """Return how so many deliveries at once are answered, and what the last one waited."""
    receiver = Receiver(SECRET, idempotency=store)

    async def deliver() -> set[int]:
        tasks = [receiver.receive_async(request(number)) for number in range(count)]
        return {response.status for response in await asyncio.gather(*tasks)}

    begun = time.monotonic()
    found = asyncio.run(deliver())
    return found, time.monotonic() - begun


@pytest.mark.slow
def test_many_are_answered_in_time_when_redis_hangs(server: RedisServer) -> None:
    store = RedisStore(server.url)
    until(lambda: answers(store, 8)[0] <= {200, 409})  # 409 if an answer was lost before
    with server.paused():
        found, seconds = answers(store, MANY)
    assert found == {503}
    assert seconds < SOON_SECONDS


def test_a_verb_of_redis_says_how_long_it_has_waited(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RedisStore(f"{server.url}?socket_timeout=0.05&socket_connect_timeout=0.05")
    call = threading.Event()
    with ThreadPoolExecutor(1) as busy:
        monkeypatch.setattr(store, "_threads", busy)  # none of which is free
        busy.submit(call.wait)
        with pytest.raises(StorageError, match=r"no answer within 0\.2 s"):
            asyncio.run(store.claim_async("a", "o"))
        call.set()
    # It was never begun.
    assert RedisStore(server.patient_url).claim("a", "o").state is ClaimState.CLAIMED


@pytest.mark.slow
def test_many_are_answered_in_time_when_the_file_is_locked(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("karla_receiver.sqlite.file.BUSY_SECONDS", 1)
    store = SQLiteStore(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    found, seconds = answers(store, MANY)
    other.close()
    assert found == {503}
    assert seconds < SOON_SECONDS
    store.close()


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_a_copy_is_told_of_the_first_while_handlers_take_every_thread(
    kind: str, path: Path, server: RedisServer
) -> None:
    store = (
        SQLiteStore(path) if kind == "sqlite" else RedisStore(server.patient_url, endpoint="copies")
    )
    receiver = Receiver(SECRET, idempotency=store)
    may_end = threading.Event()

    async def deliver() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        is_running = asyncio.Event()

        @receiver.on("*")
        def handler(event: Event) -> None:
            loop.call_soon_threadsafe(is_running.set)
            may_end.wait()

        first = asyncio.ensure_future(receiver.receive_async(request(0)))
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await is_running.wait()
                copy = await receiver.receive_async(request(0))
        finally:
            may_end.set()
        assert copy.status == 409
        assert (await first).status == 200

    asyncio.run(deliver())


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_a_loop_may_use_a_store_that_was_used_before_a_fork(
    kind: str, path: Path, server: RedisServer
) -> None:
    store = (
        SQLiteStore(path) if kind == "sqlite" else RedisStore(server.patient_url, endpoint="forked")
    )

    async def handle(key: str) -> ClaimState:
        claim = await store.claim_async(key, "o")
        await store.release_async(key, claim.token)
        claim = await store.claim_async(key, "o")
        await store.done_async(key, claim.token)
        return (await store.claim_async(key, "o")).state

    assert asyncio.run(handle("a")) is ClaimState.DONE
    assert in_child(lambda: asyncio.run(handle("b")) is ClaimState.DONE)
    assert asyncio.run(handle("c")) is ClaimState.DONE
    assert store.claim("b", "o").state is ClaimState.DONE
