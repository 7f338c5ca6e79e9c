"""What is entered around every handler call: the context managers that `Receiver.around` registers.

A surrounded handler is a handler again. So whoever calls it, in a request or in a worker, need not
know that there is anything around it.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    ExitStack,
)
from typing import Any, TypeAlias, cast

from karla_receiver.errors import ConfigurationError
from karla_receiver.outcomes import Handler
from karla_receiver.runners import is_async

__all__ = ["Around", "Check", "Run", "refuse_bare_function", "surround"]

# Any, as for handlers: a function may name the type of event that it needs.
Around: TypeAlias = Callable[[Any], AbstractContextManager[Any] | AbstractAsyncContextManager[Any]]
# Raises if what the handler returned is a failure, so that the context managers see one.
Check: TypeAlias = Callable[[object], object]
# Runs what an async function returned to its end, from a thread without an event loop.
Run: TypeAlias = Callable[[Awaitable[object]], object]


def refuse_bare_function(function: object) -> None:
    """Raise ConfigurationError for a function that cannot return a context manager."""
    if inspect.isasyncgenfunction(function):
        decorator = "asynccontextmanager"
    elif inspect.isgeneratorfunction(function):
        decorator = "contextmanager"
    elif inspect.iscoroutinefunction(function):
        raise ConfigurationError(
            f"{_name(function)} must return a context manager and not be async itself: the context"
            " manager that it returns may be async"
        )
    else:
        return
    raise ConfigurationError(
        f"{_name(function)} must return a context manager: decorate it with contextlib.{decorator}"
    )


def surround(
    handler: Handler, functions: Sequence[Around], run: Run, check: Check | None = None
) -> Handler:
    """Return a handler that enters what functions return, the first outermost, around handler.

    It is async if handler is. A sync one runs all of it in one thread, an async one in one task.
    check: called with what handler returned.
    """
    if not functions:
        return handler
    if is_async(handler):
        return _surround_async(handler, functions, check)
    return _surround_sync(handler, functions, run, check)


def _surround_sync(
    handler: Handler, functions: Sequence[Around], run: Run, check: Check | None
) -> Handler:
    def call(event: Any) -> object:
        with ExitStack() as stack:
            for function in functions:
                stack.enter_context(_Sync(function, event))
            result = handler(event)
            if inspect.isawaitable(result):
                result = run(result)
            if check is not None:
                check(result)
            return result

    return call


def _surround_async(handler: Handler, functions: Sequence[Around], check: Check | None) -> Handler:
    async def call(event: Any) -> object:
        async with AsyncExitStack() as stack:
            for function in functions:
                await stack.enter_async_context(_Async(function, event))
            result = await cast("Awaitable[object]", handler(event))
            if check is not None:
                check(result)
            return result

    return call


class _Sync:
    """A context manager that may raise another error, but cannot suppress one.

    A delivery whose handler failed must not be acknowledged because of a true value that
    `__exit__` returned. Whoever wants that raises Discard.
    """

    def __init__(self, function: Around, event: Any) -> None:
        self._context: Any = function(event)
        if not _has(self._context, "__enter__", "__exit__"):
            raise _unusable(function, self._context)

    def __enter__(self) -> None:
        self._context.__enter__()

    def __exit__(self, *raised: Any) -> None:
        self._context.__exit__(*raised)


class _Async:
    """Same as `_Sync`, in a task: for either kind of context manager."""

    def __init__(self, function: Around, event: Any) -> None:
        self._context: Any = function(event)
        self._is_async = _has(self._context, "__aenter__", "__aexit__")
        if not self._is_async and not _has(self._context, "__enter__", "__exit__"):
            raise _unusable(function, self._context)

    async def __aenter__(self) -> None:
        if self._is_async:
            await self._context.__aenter__()
        else:
            self._context.__enter__()

    async def __aexit__(self, *raised: Any) -> None:
        if self._is_async:
            await self._context.__aexit__(*raised)
        else:
            self._context.__exit__(*raised)


def _has(context: object, *methods: str) -> bool:
    return all(hasattr(type(context), method) for method in methods)


def _unusable(function: Around, context: object) -> TypeError:
    if _has(context, "__aenter__", "__aexit__"):
        return TypeError(
            f"{_name(function)} returned an async context manager, which cannot be entered around"
            " a handler that is not async: return a context manager, or make the handler async"
        )
    return TypeError(
        f"{_name(function)}, registered with receiver.around, must return a context manager, not"
        f" {type(context).__name__}"
    )


def _name(function: object) -> str:
    return getattr(function, "__qualname__", type(function).__qualname__)
