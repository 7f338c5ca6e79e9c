"""Database connections and transactions around each call of a handler.

Django closes stale connections when a request begins and ends. A worker has no requests, so the
same is done there around each call of a handler.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Generator, Iterable
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    ExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from contextvars import ContextVar
from typing import Any, NamedTuple

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, async_to_sync, sync_to_async
from django.db import close_old_connections, connections, transaction

from karla_receiver import Event, Receiver
from karla_receiver.runners import running_by

__all__ = ["atomic_aliases", "manage_connections", "serving"]


def manage_connections(receiver: Receiver) -> None:
    """Give the receiver's handlers database connections that work, in a worker too.

    In a worker, `close_old_connections` is called before and after each handler, as Django calls
    it for a request. An async handler has connections of its own, closed after it.
    `endpoint`, `webhook`, `receiver_from_settings`, `karla-receiver work` and
    `manage.py karla_work` do this by themselves: call it for a receiver that none of them gets.
    """
    receiver.around(_Connections, outermost=True)


def atomic_aliases(excluded: Iterable[str]) -> tuple[str, ...]:
    """Return the databases whose ATOMIC_REQUESTS is set, without those that a view excludes."""
    left_out = set(excluded)
    return tuple(
        alias
        for alias in connections
        if connections.settings[alias]["ATOMIC_REQUESTS"] and alias not in left_out
    )


class _Serving(NamedTuple):
    """A request that a webhook view serves. Django looks after its connections.

    atomic: databases in which each handler is called in a transaction.
    is_bridged: whether an event loop waits for this thread, as under ASGI. Async handlers run on
    that loop, and asgiref has what they do with a database done in this thread.
    """

    atomic: tuple[str, ...]
    is_bridged: bool


_SERVING: ContextVar[_Serving | None] = ContextVar("karla_receiver.django.serving", default=None)


@contextmanager
def serving(excluded: Iterable[str]) -> Generator[None]:
    """Tell the handlers that a request of Django's is being served in this thread.

    excluded: databases of which a view does not want ATOMIC_REQUESTS.
    """
    # It stays noted in a thread of WSGI that has served an async view: that loop runs no more.
    loop = getattr(SyncToAsync.threadlocal, "main_event_loop", None)
    is_bridged = loop is not None and loop.is_running()
    token = _SERVING.set(_Serving(atomic_aliases(excluded), is_bridged))
    try:
        with running_by(_run_on_waiting_loop if is_bridged else None):
            yield
    finally:
        _SERVING.reset(token)


def _run_on_waiting_loop(awaitable: Awaitable[Any]) -> Any:
    async def wait() -> Any:
        return await awaitable

    return async_to_sync(wait)()


class _Connections:
    """Around one call of a handler, for `Receiver.around`."""

    _sync: AbstractContextManager[None]
    _async: AbstractAsyncContextManager[None]

    def __init__(self, event: Event) -> None:
        self._serving = _SERVING.get()

    def __enter__(self) -> None:
        self._sync = _fresh() if self._serving is None else _atomic(self._serving.atomic)
        self._sync.__enter__()

    def __exit__(self, *raised: Any) -> None:
        self._sync.__exit__(*raised)

    async def __aenter__(self) -> None:
        is_bridged = self._serving is not None and self._serving.is_bridged
        self._async = nullcontext() if is_bridged else _apart()
        await self._async.__aenter__()

    async def __aexit__(self, *raised: Any) -> None:
        await self._async.__aexit__(*raised)


@contextmanager
def _fresh() -> Generator[None]:
    close_old_connections()
    try:
        yield
    finally:
        close_old_connections()


@contextmanager
def _atomic(aliases: Iterable[str]) -> Generator[None]:
    with ExitStack() as transactions:
        for alias in aliases:
            transactions.enter_context(transaction.atomic(using=alias))
        yield


@asynccontextmanager
async def _apart() -> AsyncGenerator[None]:
    # A thread of its own for what is done with a database, as Django gives each request under
    # ASGI. All async handlers would share one otherwise, and close each other's connections.
    async with ThreadSensitiveContext():
        try:
            yield
        finally:
            await sync_to_async(connections.close_all)()
