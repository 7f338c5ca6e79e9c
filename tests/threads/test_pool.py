"""Sync handlers and stores run in pools of their own, and hold up nothing else."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
import time
from typing import Any

import pytest

from karla_receiver import Event, Receiver
from karla_receiver.idempotency import Claim, ClaimState
from karla_receiver.threads.pool import Pool
from tests.signing import SECRET, signed
from tests.waiting import PATIENCE_SECONDS


class BlockingStore:
    """A store of a user's own, which blocks and cannot be awaited."""

    key: Any = None
    blocks = True

    def __init__(self) -> None:
        self.threads: set[str] = set()

    def claim(self, key: str, occurrence: str) -> Claim:
        self.threads.add(threading.current_thread().name)
        return Claim(ClaimState.CLAIMED)

    def done(self, key: str, token: str) -> None:
        """Forget it."""

    release = done


def test_slow_handlers_hold_up_neither_stores_nor_what_the_app_runs_in_threads() -> None:
    """More handlers than either pool has threads, and none returns before the rest is done."""
    may_end = threading.Event()
    begun = threading.Semaphore(0)
    store = BlockingStore()
    receiver = Receiver(SECRET, idempotency=store)
    quick = Receiver(SECRET, idempotency=store)

    @receiver.on("*")
    def wait(event: Event) -> None:
        begun.release()
        may_end.wait(PATIENCE_SECONDS)

    @quick.on("*")
    async def handle(event: Event) -> None:
        """Return at once."""

    async def serve() -> list[int]:
        slow = [asyncio.ensure_future(receiver.receive_async(signed())) for _ in range(60)]
        for _ in range(40):
            await asyncio.to_thread(begun.acquire, timeout=PATIENCE_SECONDS)
        assert (await quick.receive_async(signed())).status == 200
        assert await asyncio.to_thread(lambda: "another route") == "another route"
        assert not any(task.done() for task in slow)
        may_end.set()
        return [response.status for response in await asyncio.gather(*slow)]

    assert asyncio.run(serve()) == [200] * 60
    assert {name.rpartition("_")[0] for name in store.threads} == {"karla-store"}


def test_a_sync_handler_sees_the_context_of_its_request() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    seen: list[tuple[str, str]] = []
    receiver = Receiver(SECRET)

    @receiver.on("*")
    def handle(event: Event) -> None:
        seen.append((variable.get(), threading.current_thread().name))

    async def serve() -> int:
        variable.set("of the request")
        return (await receiver.receive_async(signed())).status

    assert asyncio.run(serve()) == 200
    ((value, thread),) = seen
    assert value == "of the request"
    assert thread.startswith("karla-handler")


def test_no_thread_is_started_before_one_is_needed() -> None:
    pool = Pool("of-a-test")
    before = threading.active_count()
    assert asyncio.run(pool.run(threading.get_ident)) != threading.get_ident()
    names = [each.name for each in threading.enumerate() if each.name.startswith("of-a-test")]
    assert len(names) == 1
    assert threading.active_count() == before + 1


def test_a_forked_process_has_threads_of_its_own() -> None:
    pool = Pool("of-a-forked-test")
    asyncio.run(pool.run(time.monotonic))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if asyncio.run(pool.run(os.getpid)) == os.getpid() else 1
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert asyncio.run(pool.run(os.getpid)) == os.getpid()


@pytest.mark.parametrize("error", [ValueError(), SystemExit()])
def test_what_is_raised_is_raised_to_who_waits(error: BaseException) -> None:
    def fail() -> None:
        raise error

    async def call() -> None:
        await Pool("of-a-failing-test").run(fail)

    with pytest.raises(type(error)):
        asyncio.run(call())
