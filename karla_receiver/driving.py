"""The two ways to drive one path: at once in this thread, or on an event loop.

`Receiver` is written once, as coroutines. What differs (reading chunks, calling handlers) is in a
driver; under SYNC nothing ever suspends, so that the coroutine runs to its end in one step.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Iterable
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from karla_receiver.body import BodyBuffer
from karla_receiver.events import Event
from karla_receiver.routing import Handler

__all__ = ["ASYNC", "SYNC", "Driver", "call_to_end", "run_sync"]

_T = TypeVar("_T")


class Driver(Protocol):
    """How to do what may take time."""

    async def read(
        self, chunks: Iterable[bytes] | AsyncIterable[bytes], buffer: BodyBuffer
    ) -> None:
        """Add all chunks to buffer, which raises when they are too many."""

    async def call(self, handler: Handler, event: Event) -> Exception | None:
        """Call handler to its end; return what it raised.

        A value, so that no error of a handler is ever taken for one of ours. What is not an
        Exception (SystemExit, KeyboardInterrupt, CancelledError) is raised.
        """


class _SyncDriver:
    async def read(
        self, chunks: Iterable[bytes] | AsyncIterable[bytes], buffer: BodyBuffer
    ) -> None:
        if not isinstance(chunks, Iterable):
            raise TypeError("an asynchronous body needs receive_async")
        for chunk in chunks:
            buffer.add(chunk)

    async def call(self, handler: Handler, event: Event) -> Exception | None:
        return _attempt(partial(call_to_end, handler), event)[1]


class _AsyncDriver:
    async def read(
        self, chunks: Iterable[bytes] | AsyncIterable[bytes], buffer: BodyBuffer
    ) -> None:
        if isinstance(chunks, AsyncIterable):
            async for chunk in chunks:
                buffer.add(chunk)
        else:
            for chunk in chunks:
                buffer.add(chunk)

    async def call(self, handler: Handler, event: Event) -> Exception | None:
        if _is_async(handler):
            result, error = _attempt(handler, event)
        else:
            # A handler that waits for a database must not stop every other request.
            result, error = await _in_thread(_attempt, handler, event)
        if error is None and inspect.isawaitable(result):
            try:
                await result
            except Exception as raised:  # noqa: BLE001 - returned, and logged by the receiver
                return raised
        return error


SYNC: Final[Driver] = _SyncDriver()
ASYNC: Final[Driver] = _AsyncDriver()


def run_sync(path: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine that never suspends, and return its result."""
    try:
        path.send(None)
    except StopIteration as stop:
        result: _T = stop.value
        return result
    raise RuntimeError("a synchronous path must not suspend")


async def _in_thread(function: Callable[..., _T], *arguments: Any) -> _T:
    import asyncio  # takes longer to import than all the rest, and many users never need it

    return await asyncio.to_thread(function, *arguments)


def _attempt(function: Handler, argument: Any) -> tuple[object, Exception | None]:
    # The error is a value: a StopIteration cannot be raised through a future.
    try:
        return function(argument), None
    except Exception as error:  # noqa: BLE001 - returned, and logged by the receiver
        return None, error


def _is_async(handler: Handler) -> bool:
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
        getattr(handler, "__call__", None)  # noqa: B004 - the method is wanted, not the answer
    )


def call_to_end(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function and return its result; run it on an event loop of its own if it is async."""
    result = function(*args, **kwargs)
    return _run_to_end(result) if inspect.isawaitable(result) else result


def _run_to_end(awaitable: Awaitable[object]) -> object:
    import asyncio  # see above

    async def finish() -> object:
        return await awaitable

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(finish())
    if inspect.iscoroutine(awaitable):
        awaitable.close()  # or Python complains later that nobody awaited it
    raise RuntimeError(
        "an async handler was called under a running event loop, for which there is receive_async"
    )
