"""The two ways to drive one path: at once in this thread, or on an event loop.

`Receiver` is written once, as coroutines. What differs (reading chunks, calling handlers) is in a
runner; under a SyncRunner nothing ever suspends, so that the coroutine runs to its end in one step.
"""

from __future__ import annotations

import atexit
import inspect
import sys
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
)
from contextlib import contextmanager
from contextvars import ContextVar
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias, TypeVar

from karla_receiver.events import Event
from karla_receiver.outcomes import Handler
from karla_receiver.request import BodyBuffer

if TYPE_CHECKING:
    from karla_receiver.threads.loop import AppLoop

__all__ = [
    "ASYNC",
    "Called",
    "HandlerCancelledError",
    "Runner",
    "SyncRunner",
    "call_to_end",
    "is_async",
    "run_sync",
    "run_to_end",
    "running_by",
]

_T = TypeVar("_T")

# Runs an awaitable to its end, and returns or raises what it does.
Run: TypeAlias = Callable[[Awaitable[Any]], Any]


class HandlerCancelledError(Exception):
    """A handler raised CancelledError though nobody had cancelled the request: it has failed."""


class Called(NamedTuple):
    """What a handler returned, or what it raised.

    A value, so that no error of a handler is ever taken for one of ours.
    """

    result: object
    error: Exception | None


_RETURNED_NONE: Final = Called(None, None)  # what nearly every call comes to


class Runner(Protocol):
    """How to do what may take time."""

    def ends_work(self, error: BaseException) -> bool:
        """Return whether error, being raised, proves that no handler is running any more."""
        ...

    async def read(
        self, chunks: Iterable[bytes] | AsyncIterable[bytes], buffer: BodyBuffer
    ) -> None:
        """Add all chunks to buffer, which raises when they are too many."""

    async def call(self, handler: Handler, event: Event) -> Called:
        """Call handler to its end.

        SystemExit and KeyboardInterrupt are raised, and CancelledError if it is the request that
        was cancelled.
        """
        ...

    async def use(self, store: Any, verb: str, *arguments: Any) -> Any:
        """Call a method of a store or an inbox to its end; return and raise what it does."""

    async def finish(self, work: Coroutine[Any, Any, None]) -> None:
        """Do the work to its end, even if the request is cancelled; raise what it raises."""


class SyncRunner:
    """Does everything at once, in the caller's thread.

    run: runs what async handlers return to its end.
    """

    def __init__(self, run: Run) -> None:
        self._run = run

    def ends_work(self, error: BaseException) -> bool:
        return True

    async def read(
        self, chunks: Iterable[bytes] | AsyncIterable[bytes], buffer: BodyBuffer
    ) -> None:
        if not isinstance(chunks, Iterable):
            raise TypeError("an asynchronous body needs receive_async")
        for chunk in chunks:
            buffer.add(chunk)

    async def call(self, handler: Handler, event: Event) -> Called:
        called = _attempt(handler, event)
        if called is _RETURNED_NONE or not inspect.isawaitable(called.result):
            return called
        return _attempt(self._run, called.result)

    async def use(self, store: Any, verb: str, *arguments: Any) -> Any:
        result = getattr(store, verb)(*arguments)
        return self._run(result) if inspect.isawaitable(result) else result

    async def finish(self, work: Coroutine[Any, Any, None]) -> None:
        await work


class _AsyncRunner:
    def ends_work(self, error: BaseException) -> bool:
        import asyncio  # see `finish`

        if isinstance(error, asyncio.CancelledError):
            # Not if the task was cancelled: a handler that runs in a thread cannot be stopped, and
            # may still finish. Otherwise a handler has raised it.
            task = asyncio.current_task()
            return task is not None and not task.cancelling()
        return isinstance(error, Exception)

    async def read(
        self, chunks: Iterable[bytes] | AsyncIterable[bytes], buffer: BodyBuffer
    ) -> None:
        if isinstance(chunks, AsyncIterable):
            try:
                async for chunk in chunks:
                    buffer.add(chunk)
            except BaseException:
                if isinstance(chunks, AsyncGenerator):
                    await chunks.aclose()  # left half-way it is not closed by itself
                raise
        else:
            for chunk in chunks:
                buffer.add(chunk)

    async def call(self, handler: Handler, event: Event) -> Called:
        if is_async(handler):
            return await self._await(handler, event)
        # A handler that waits for a database must not stop every other request.
        from karla_receiver.threads.pool import HANDLERS  # imports asyncio: see `finish`

        called = await HANDLERS.run(_attempt, handler, event)
        if called is not _RETURNED_NONE and inspect.isawaitable(called.result):
            return await self._await(_itself, called.result)
        return called

    async def _await(self, function: Callable[[Any], Any], argument: Any) -> Called:
        try:
            return _returned(await function(argument))
        except Exception as raised:  # noqa: BLE001 - returned, and logged by the receiver
            return Called(None, raised)
        except BaseException as raised:
            if _is_cancelled(raised) and self.ends_work(raised):
                return Called(None, _cancelled(raised))
            raise

    async def use(self, store: Any, verb: str, *arguments: Any) -> Any:
        # A store that knows how to wait does so: the pool's threads may be taken by others that
        # wait for the same store.
        method = getattr(store, f"{verb}_async", None)
        if method is None:
            method = getattr(store, verb)
            if store.blocks and not is_async(method):
                from karla_receiver.threads.pool import STORES  # imports asyncio: see `finish`

                return await STORES.run(method, *arguments)
        result = method(*arguments)
        return await result if inspect.isawaitable(result) else result

    async def finish(self, work: Coroutine[Any, Any, None]) -> None:
        import asyncio  # takes longer to import than all the rest, and many users never need it

        task = asyncio.ensure_future(work)
        _UNFINISHED.add(task)
        task.add_done_callback(_finished)
        # A sender that hangs up cancels the request, in some servers, but not what is being done
        # for the delivery: its effect would stand, and the claim on it would not be marked.
        await asyncio.shield(task)


_UNFINISHED: Final[set[Any]] = set()  # or the event loop alone, weakly, would know them


def _finished(task: Any) -> None:
    _UNFINISHED.discard(task)
    if not task.cancelled():
        task.exception()  # was raised, or nobody is left to raise it to: no complaint of asyncio's


ASYNC: Final[Runner] = _AsyncRunner()


def run_sync(path: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine that never suspends, and return its result."""
    try:
        path.send(None)
    except StopIteration as stop:
        result: _T = stop.value
        return result
    raise RuntimeError("a synchronous path must not suspend")


def _attempt(function: Handler, argument: Any) -> Called:
    # Besides, a StopIteration cannot be raised through a future.
    try:
        return _returned(function(argument))
    except Exception as error:  # noqa: BLE001 - returned, and logged by the receiver
        return Called(None, error)
    except BaseException as error:
        if _is_cancelled(error):
            return Called(None, _cancelled(error))
        raise


def _itself(awaitable: Awaitable[object]) -> Awaitable[object]:
    return awaitable


def _is_cancelled(error: BaseException) -> bool:
    asyncio: Any = sys.modules.get("asyncio")  # or nobody can have raised it
    return asyncio is not None and isinstance(error, asyncio.CancelledError)


def _cancelled(error: BaseException) -> HandlerCancelledError:
    failure = HandlerCancelledError("the handler raised CancelledError")
    failure.__cause__ = error
    return failure


def _returned(result: object) -> Called:
    if result is None:
        return _RETURNED_NONE
    # `refuse_generator` sees no generator behind a wrapper.
    is_generator = inspect.isgenerator(result) or inspect.isasyncgen(result)
    if is_generator and not inspect.isawaitable(result):
        return Called(None, TypeError("it returned a generator, and has done none of its work"))
    return Called(result, None)


def is_async(handler: Callable[..., Any]) -> bool:
    """Return whether calling handler makes something to await."""
    if type(handler) is FunctionType and handler.__code__.co_flags & inspect.CO_COROUTINE:
        return True  # nearly every async handler: inspect would take longer to say so
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
        getattr(handler, "__call__", None)  # noqa: B004 - the method is wanted, not the answer
    )


def call_to_end(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function and return its result; if it is async, run it to its end."""
    result = function(*args, **kwargs)
    return run_to_end(result) if inspect.isawaitable(result) else result


# How a framework runs awaitables from the thread that it has a request served in.
_FRAMEWORKS: Final[ContextVar[Run | None]] = ContextVar("karla_receiver.run", default=None)


@contextmanager
def running_by(run: Run | None) -> Generator[None]:
    """Have awaitables of this thread run by a framework's own means while the context lasts.

    For a thread that an event loop waits for: the framework may have sync work of an async handler
    done in this very thread. None: they run as ever.
    """
    token = _FRAMEWORKS.set(run)
    try:
        yield
    finally:
        _FRAMEWORKS.reset(token)


def run_to_end(awaitable: Awaitable[Any], app_loop: AppLoop | None = None) -> Any:
    """Run an awaitable to its end; see `running_by`, and `run_to_end` of `threads.loop`."""
    run = _FRAMEWORKS.get()
    if run is not None:
        return run(awaitable)
    from karla_receiver.threads import loop  # imports asyncio: see `finish`

    return loop.run_to_end(awaitable, app_loop)


@atexit.register
def _end_loop() -> None:
    # Registered here, and so called after an inbox has stopped its worker, which needs the loop.
    loop: Any = sys.modules.get("karla_receiver.threads.loop")
    if loop is not None:
        loop.end()
