"""The event loop of a server in the tests: a new one for each request, unless one is to last."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Generator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

from tests.waiting import PATIENCE_SECONDS

__all__ = ["lasting_loop", "run_on_server"]

_T = TypeVar("_T")

_lasting: list[asyncio.AbstractEventLoop] = []


def run_on_server(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine to its end on the loop that lasts, or on a new one."""
    if not _lasting:
        return asyncio.run(coroutine)
    return asyncio.run_coroutine_threadsafe(coroutine, _lasting[-1]).result(PATIENCE_SECONDS)


@contextmanager
def lasting_loop() -> Generator[asyncio.AbstractEventLoop]:
    """Have one loop serve all requests meanwhile, in a thread of its own, as a server does."""
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def live() -> None:
        is_over = asyncio.Event()
        started.set_result((asyncio.get_running_loop(), is_over))
        await is_over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(live()))
    thread.start()
    loop, is_over = started.result(PATIENCE_SECONDS)
    _lasting.append(loop)
    try:
        yield loop
    finally:
        _lasting.pop()
        loop.call_soon_threadsafe(is_over.set)
        thread.join(PATIENCE_SECONDS)
