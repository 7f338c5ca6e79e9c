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
        # Those of parent processes are kept: here they have no threads that could end.
        self._executors: dict[int, ThreadPoolExecutor] = {}

    async def run(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """Call function in a thread, with the caller's context variables."""
        call = partial(copy_context().run, function, *arguments)
        return await asyncio.get_running_loop().run_in_executor(self._of_this_process(), call)

    def _of_this_process(self) -> ThreadPoolExecutor:
        # By number: uWSGI forks without running Python's hooks.
        number = os.getpid()
        if number not in self._executors:
            made = ThreadPoolExecutor(_SIZE, thread_name_prefix=self._name)
            return self._executors.setdefault(number, made)
        return self._executors[number]


HANDLERS: Final = Pool("karla-handler")
STORES: Final = Pool("karla-store")
