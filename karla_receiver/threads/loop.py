"""The event loop on which async handlers run when they are called from a thread.

Clients and pools that were made once belong to the loop that they were made on. So there is one
that lasts: the server's, if requests came by it; else one for the process, in a thread of its own.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final
from weakref import ref

from karla_receiver.observing.logs import logger

__all__ = ["AppLoop", "end", "run_to_end"]

# How often a thread that waits looks whether the loop still runs.
_LOOK_SECONDS: Final = 1.0
# For handlers that are cancelled when the interpreter exits.
_LAST_SECONDS: Final = 5.0


class AppLoop:
    """The event loop that an app lives on, as far as its receiver has seen."""

    def __init__(self) -> None:
        self._seen: ref[asyncio.AbstractEventLoop] | None = None
        self._thread_and_process = (0, 0)

    def note(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take the running loop for the app's, unless another one is, and still runs."""
        seen = self._seen
        if seen is None or (seen() is not loop and self._running() is None):
            self._seen = ref(loop)
            self._thread_and_process = (threading.get_ident(), os.getpid())

    def to_wait_for(self) -> asyncio.AbstractEventLoop | None:
        """Return the loop if it runs, and if the caller's thread can wait for it."""
        thread, process = self._thread_and_process
        if thread == threading.get_ident() or process != os.getpid():
            return None
        return self._running()

    def _running(self) -> asyncio.AbstractEventLoop | None:
        loop = None if self._seen is None else self._seen()
        return loop if loop is not None and loop.is_running() else None


class _LastingLoop:
    """An event loop in a thread of its own. Raises what making a loop or a thread raises."""

    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        self._is_ready = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._live, name="karla-loop", daemon=True)
        self._thread.start()
        self._is_ready.wait()
        if self._failure is not None:
            raise self._failure

    def _live(self) -> None:
        try:
            # At its end this cancels what still runs, and closes the loop.
            asyncio.run(self._wait_for_the_end())
        except Exception as error:  # noqa: BLE001 - raised by __init__, or logged
            if self._is_ready.is_set():
                logger.exception("the event loop of the async handlers was stopped")
            self._failure = error
        finally:
            self._is_ready.set()

    async def _wait_for_the_end(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._is_over = asyncio.Event()
        self._is_ready.set()
        await self._is_over.wait()

    @property
    def is_closed(self) -> bool:
        return self.loop.is_closed()

    @property
    def is_of_this_thread(self) -> bool:
        return self._thread.ident == threading.get_ident()

    def end(self) -> None:
        with suppress(RuntimeError):  # it is closed already
            self.loop.call_soon_threadsafe(self._is_over.set)
        self._thread.join(_LAST_SECONDS)


class _Process:
    """The lasting loop of this process, made when it is first needed. Safe for fork.

    Processes are told apart by their number: uWSGI forks without running Python's hooks.
    """

    def __init__(self) -> None:
        # One for each process: a lock that another thread of the parent holds stays locked here.
        self._locks: dict[int, threading.Lock] = {}
        self._number = os.getpid()
        self._lasting: _LastingLoop | None = None
        # A parent's loops are kept: one that is collected as garbage would close what it shares
        # with the parent's own.
        self._inherited: list[_LastingLoop] = []

    def lasting_loop(self) -> _LastingLoop:
        with self._locked():
            if self._lasting is None or self._lasting.is_closed:
                self._lasting = _LastingLoop()
            return self._lasting

    def forget(self, ended: _LastingLoop) -> None:
        """Leave a loop that has ended; the next call makes another."""
        with self._locked():
            if self._lasting is ended:
                self._lasting = None

    def end(self) -> None:
        """Cancel what runs on the loop, and close it. The next call makes another."""
        with self._locked():
            lasting, self._lasting = self._lasting, None
        if lasting is not None:
            lasting.end()

    @contextmanager
    def _locked(self) -> Generator[None]:
        number = os.getpid()
        with self._locks.setdefault(number, threading.Lock()):
            if self._number != number:
                self._leave_the_parents_loop()
                self._number = number
            yield

    def _leave_the_parents_loop(self) -> None:
        if self._lasting is not None:
            self._inherited.append(self._lasting)
            self._lasting = None


_PROCESS: Final = _Process()
end: Final[Callable[[], None]] = _PROCESS.end


def run_to_end(awaitable: Awaitable[Any], app_loop: AppLoop | None = None) -> Any:
    """Run an awaitable to its end on a lasting loop; return or raise what it does.

    The awaitable sees the caller's context variables. It is cancelled if the caller is interrupted.
    app_loop: is preferred to the process's own loop while it runs.
    Raises RuntimeError if the caller's thread is the loop's own, or if the loop ends meanwhile.
    """
    call = _Call(awaitable)
    loop = None if app_loop is None else app_loop.to_wait_for()
    if loop is None or not call.ran_on(loop):
        _run_on_lasting_loop(call)
    return call.outcome()


def _run_on_lasting_loop(call: _Call) -> None:
    for _ in range(2):  # a handler may just have stopped the first one
        lasting = _PROCESS.lasting_loop()
        if lasting.is_of_this_thread:
            call.drop()
            raise RuntimeError(
                "Receiver.receive was called on the event loop that its async handler would run on,"
                " and would wait for itself: await receive_async there"
            )
        if call.ran_on(lasting.loop):
            return
        _PROCESS.forget(lasting)
    call.drop()
    raise RuntimeError("the event loop of the async handlers has ended: the process exits")


class _Call:
    """An awaitable on its way to its end, and what came of it."""

    _task: asyncio.Task[None]

    def __init__(self, awaitable: Awaitable[Any]) -> None:
        self._awaitable = awaitable
        self._lock = threading.Lock()
        self._begins_on: asyncio.AbstractEventLoop | None = None
        self._is_awaited = False
        self._has_ended = threading.Event()
        self._result: Any = None
        self._error: BaseException | None = None

    def ran_on(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Wait for the end; return False if the loop has ended before anything was begun."""
        self._begins_on = loop
        try:
            return self._is_handed_to(loop) and self._has_ended_on(loop)
        except BaseException:
            self._give_up(loop)
            raise

    def _is_handed_to(self, loop: asyncio.AbstractEventLoop) -> bool:
        try:
            loop.call_soon_threadsafe(partial(self._begin, loop))
        except RuntimeError:  # it is closed
            return False
        return True

    def _has_ended_on(self, loop: asyncio.AbstractEventLoop) -> bool:
        while not self._has_ended.wait(_LOOK_SECONDS):
            if not loop.is_running():
                if self._is_taken_from(loop):
                    return False
                raise RuntimeError("the event loop has ended before the handler did")
        return True

    def outcome(self) -> Any:
        error = self._error
        try:
            if error is not None:
                raise error
            return self._result
        finally:
            del error, self  # a traceback keeps this frame, which must not keep the error

    def drop(self) -> None:
        """Have nobody complain that the awaitable was never awaited."""
        if inspect.iscoroutine(self._awaitable):
            self._awaitable.close()

    def _is_taken_from(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Return whether the call was still to begin on loop; for one caller, and nobody after."""
        with self._lock:
            is_taken = self._begins_on is loop
            self._begins_on = None
            return is_taken

    def _give_up(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._is_taken_from(loop):
            self.drop()
        else:
            with suppress(RuntimeError):  # it is closed
                # Not the task's own method: there is no task before the loop has begun.
                loop.call_soon_threadsafe(self._cancel)

    # -- on the event loop

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._is_taken_from(loop):
            self._task = loop.create_task(self._run())
            self._task.add_done_callback(self._end)

    async def _run(self) -> None:
        self._is_awaited = True
        try:
            self._result = await self._awaitable
        # SystemExit would end the loop, and whoever waits would not be told of CancelledError.
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
            self._error = error

    def _end(self, task: asyncio.Task[None]) -> None:
        if not self._is_awaited:  # the task was cancelled before its first step
            self.drop()
            self._error = asyncio.CancelledError()
        self._has_ended.set()

    def _cancel(self) -> None:
        self._task.cancel()
