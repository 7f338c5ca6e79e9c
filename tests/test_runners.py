from __future__ import annotations

import asyncio
import inspect
from collections.abc import Generator
from functools import partial, wraps
from typing import Any

import pytest

from karla_receiver.runners import call_to_end, is_async, run_sync


def test_a_path_that_suspends_cannot_be_run_synchronously() -> None:
    path = asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="must not suspend"):
        run_sync(path)
    path.close()


async def double(number: int) -> int:
    await asyncio.sleep(0)
    return number * 2


class Doubled:
    """An awaitable that is no coroutine."""

    def __await__(self) -> Generator[Any, None, int]:
        return double(21).__await__()


def test_a_function_is_called_to_its_end_whether_async_or_not() -> None:
    assert call_to_end(lambda number: number * 2, 21) == 42
    assert call_to_end(double, number=21) == 42
    assert call_to_end(Doubled) == 42


@pytest.mark.parametrize("function", [lambda: double(21), Doubled])
def test_it_is_called_to_its_end_also_from_a_running_loop(function: Any) -> None:
    async def call() -> object:
        return call_to_end(function)

    assert asyncio.run(call()) == 42


def undecorated(number: int) -> int:
    return number * 2


class Handlers:
    async def method(self, number: int) -> int:
        return number

    async def __call__(self, number: int) -> int:
        return number


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (double, True),
        (partial(double, 21), True),
        (Handlers().method, True),
        (Handlers(), True),
        (undecorated, False),
        (wraps(double)(lambda number: double(number)), False),
        (len, False),
    ],
)
def test_what_is_async_is_what_inspect_says_of_it_or_of_its_call(
    function: Any, expected: bool
) -> None:
    call = getattr(type(function), "__call__", None)  # noqa: B004 - the method is wanted
    asked = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)
    assert is_async(function) == expected == asked
