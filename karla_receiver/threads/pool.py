"""Pools of threads for what blocks on an event loop: sync handlers, and stores.

Neither runs in asyncio's own pool, which is small and belongs to the app. Stores have a pool of
their own, so that no claim waits for a slow handler.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, Final, TypeVar

__all__ = ["HANDLERS", "STORES", "Pool"]

_T = TypeVar("_T")

# As many as the servers' frameworks have for sync views.
_SIZE: Final = 40


class Pool:
    """A pool of threads, which are started when they are needed. What runs at exit is finished."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._executor = self._made()
        # Kept, as in a child process its threads are not there to be told of an end.
        self._inherited: list[ThreadPoolExecutor] = []
        if hasattr(os, "register_at_fork"):  # pragma: no branch - not on Windows
            os.register_at_fork(after_in_child=self._begin_anew)

    async def run(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """Call function in a thread, with the caller's context variables."""
        call = partial(copy_context().run, function, *arguments)
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    def _made(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(_SIZE, thread_name_prefix=self._name)

    def _begin_anew(self) -> None:
        self._inherited.append(self._executor)
        self._executor = self._made()


HANDLERS: Final = Pool("karla-handler")
STORES: Final = Pool("karla-store")
