"""The event loop that lasts: the app's, or one for the process."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any

import pytest

from karla_receiver import runners
from karla_receiver.threads import loop as lasting
from karla_receiver.threads.loop import AppLoop, run_to_end
from tests.inbox.stock import in_threads
from tests.waiting import PATIENCE_SECONDS, until


async def running_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


@contextmanager
def app_running() -> Generator[tuple[AppLoop, asyncio.AbstractEventLoop]]:
    """Run an app's loop in a thread, as a server does, and have it noted."""
    app_loop = AppLoop()
    started = threading.Event()
    found: list[Any] = []

    async def live() -> None:
        found.extend([asyncio.get_running_loop(), asyncio.Event()])
        app_loop.note(found[0])
        started.set()
        await found[1].wait()

    thread = threading.Thread(target=lambda: asyncio.run(live()))
    thread.start()
    assert started.wait(PATIENCE_SECONDS)
    loop, is_over = found
    try:
        yield app_loop, loop
    finally:
        loop.call_soon_threadsafe(is_over.set)
        thread.join()


# --- where it runs ---


def test_calls_from_all_threads_run_on_one_loop_in_a_thread_of_its_own() -> None:
    loops: list[Any] = []
    in_threads(4, lambda _: loops.append(run_to_end(running_loop())))
    assert len(loops) == 4
    assert len(set(loops)) == 1
    assert loops[0].is_running()


def test_the_apps_loop_is_preferred_while_it_runs() -> None:
    with app_running() as (app_loop, loop):
        assert run_to_end(running_loop(), app_loop) is loop
    own = run_to_end(running_loop(), app_loop)
    assert own is not loop
    assert own is run_to_end(running_loop())


def test_the_first_loop_that_still_runs_is_the_apps() -> None:
    async def note_another(app_loop: AppLoop) -> None:
        app_loop.note(asyncio.get_running_loop())

    with app_running() as (app_loop, loop):
        asyncio.run(note_another(app_loop))
        assert run_to_end(running_loop(), app_loop) is loop
    with app_running() as (_, second):
        asyncio.run_coroutine_threadsafe(note_another(app_loop), second).result(PATIENCE_SECONDS)
        assert run_to_end(running_loop(), app_loop) is second


def test_the_apps_own_thread_does_not_wait_for_itself() -> None:
    async def call(app_loop: AppLoop) -> Any:
        app_loop.note(asyncio.get_running_loop())
        return run_to_end(running_loop(), app_loop), asyncio.get_running_loop()

    used, own = asyncio.run(call(AppLoop()))
    assert used is not own


def test_the_loops_own_thread_does_not_wait_for_itself() -> None:
    async def nested() -> object:
        return run_to_end(running_loop())

    with pytest.raises(RuntimeError, match="would wait for itself: await receive_async"):
        run_to_end(nested())


# --- what comes of it ---


class Doubled:
    """An awaitable that is no coroutine."""

    def __await__(self) -> Generator[Any, None, int]:
        yield from asyncio.sleep(0).__await__()
        return 42


async def fail(error: BaseException) -> None:
    raise error


def test_it_returns_what_an_awaitable_does() -> None:
    assert run_to_end(Doubled()) == 42


@pytest.mark.parametrize(
    "error", [ValueError("x"), SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()]
)
def test_whatever_is_raised_is_raised_to_the_caller_and_the_loop_goes_on(
    error: BaseException,
) -> None:
    before = run_to_end(running_loop())
    with pytest.raises(type(error)) as caught:
        run_to_end(fail(error))
    assert caught.value is error
    assert run_to_end(running_loop()) is before


def test_the_callers_context_is_seen() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("of the caller")

    async def read() -> str:
        return variable.get()

    assert run_to_end(read()) == "of the caller"


def test_a_caller_that_is_interrupted_cancels_what_it_waits_for() -> None:
    cancelled = threading.Event()
    program_thread = threading.get_ident()

    async def hang() -> None:
        signal.pthread_kill(program_thread, signal.SIGINT)
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(KeyboardInterrupt):
        run_to_end(hang())
    assert cancelled.wait(PATIENCE_SECONDS)


# --- loops that end ---


@pytest.fixture(autouse=True)
def _quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lasting, "_LOOK_SECONDS", 0.01)


class Stub:
    """An app's loop as far as a call sees it, in the state that a test needs."""

    def __init__(self, begins: Callable[[Any], object] = lambda begin: None) -> None:
        self.begins = begins
        self.running = True
        self.thread: threading.Thread | None = None

    def is_running(self) -> bool:
        return self.running

    def call_soon_threadsafe(self, callback: Any) -> None:
        self.running = False  # it ends now
        self.begins(callback)


def app_loop_of(loop: Any) -> AppLoop:
    app_loop = AppLoop()
    threading.Thread(target=lambda: app_loop.note(loop)).start()
    until(lambda: app_loop.to_wait_for() is loop)
    return app_loop


def refuse(begin: Any) -> None:
    raise RuntimeError("Event loop is closed")


@pytest.mark.parametrize("begins", [lambda begin: None, refuse], ids=["stopped", "closed"])
def test_what_an_ended_loop_has_not_begun_runs_on_the_processs_own(begins: Any) -> None:
    stub = Stub(begins)
    assert run_to_end(running_loop(), app_loop_of(stub)) is run_to_end(running_loop())


def interrupt(begin: Any) -> None:
    raise KeyboardInterrupt


def test_a_caller_that_is_interrupted_at_once_leaves_nothing_that_nobody_awaits() -> None:
    stub = Stub(interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_to_end(running_loop(), app_loop_of(stub))
    gc.collect()  # a coroutine that was never awaited would be told now


def test_a_process_that_exits_fails_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = SimpleNamespace(loop=Stub(refuse), is_of_this_thread=False)
    monkeypatch.setattr(lasting._PROCESS, "lasting_loop", lambda: ended)  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(RuntimeError, match="the process exits"):
        run_to_end(running_loop())


def test_a_call_that_takes_long_is_waited_for_while_its_loop_runs() -> None:
    has_looked = threading.Event()

    async def wait() -> bool:
        loop: Any = asyncio.get_running_loop()

        def is_running() -> bool:
            has_looked.set()
            return True

        loop.is_running = is_running
        try:
            return await asyncio.to_thread(has_looked.wait, PATIENCE_SECONDS)
        finally:
            del loop.is_running

    assert run_to_end(wait())


def test_an_ended_loop_that_begins_late_does_not_run_a_call_twice() -> None:
    late: list[Any] = []
    stub = Stub(late.append)
    runs: list[int] = []

    async def run() -> None:
        runs.append(1)

    run_to_end(run(), app_loop_of(stub))
    for begin in late:
        begin()
    assert runs == [1]


def test_a_call_that_was_begun_when_its_loop_ended_has_failed() -> None:
    ended: list[asyncio.AbstractEventLoop] = []
    started = threading.Event()

    async def hang() -> None:
        ended.append(asyncio.get_running_loop())
        started.set()
        await asyncio.Event().wait()

    app_loop = AppLoop()
    loop = asyncio.new_event_loop()

    def live() -> None:
        loop.call_soon(lambda: app_loop.note(loop))
        loop.run_forever()

    thread = threading.Thread(target=live)
    thread.start()
    until(lambda: app_loop.to_wait_for() is loop)

    def stop() -> None:
        started.wait(PATIENCE_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()

    stopper = threading.Thread(target=stop)
    stopper.start()
    with pytest.raises(RuntimeError, match="has ended before the handler did"):
        run_to_end(hang(), app_loop)
    stopper.join()
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def test_a_call_that_is_cancelled_before_its_first_step_has_failed() -> None:
    async def never() -> None:
        raise AssertionError("it was begun")

    def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
        task = asyncio.Task(coroutine, loop=loop, **options)
        task.cancel()
        return task

    with app_running() as (app_loop, loop):
        loop.set_task_factory(factory)
        with pytest.raises(asyncio.CancelledError):
            run_to_end(never(), app_loop)
        with pytest.raises(asyncio.CancelledError):
            run_to_end(Doubled(), app_loop)
        loop.set_task_factory(None)


def test_a_handler_that_stops_the_loop_fails_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def stop() -> None:
        asyncio.get_running_loop().stop()
        await asyncio.Event().wait()

    with pytest.raises((asyncio.CancelledError, RuntimeError)):
        run_to_end(stop())

    def goes_on() -> bool:
        with suppress(RuntimeError):  # a call that comes while the loop ends fails with it
            return bool(run_to_end(running_loop()).is_running())
        return False

    until(goes_on)
    until(lambda: "the event loop of the async handlers was stopped" in caplog.text)


def test_a_call_that_finds_the_loop_ended_has_another_one_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = lasting._PROCESS.lasting_loop()  # pyright: ignore[reportPrivateUsage]
    with monkeypatch.context() as patched:
        patched.setattr(first.loop, "call_soon_threadsafe", refuse)
        assert run_to_end(running_loop()) is not first.loop
    first.end()


def test_a_loop_that_cannot_be_made_fails_the_call_and_the_next_one_tries_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lasting.end()
    with monkeypatch.context() as patched:

        def fail_to_run(main: Any) -> None:
            main.close()
            raise OSError("too many open files")

        patched.setattr(asyncio, "run", fail_to_run)
        coroutine = running_loop()
        with pytest.raises(OSError, match="too many open files"):
            run_to_end(coroutine)
        coroutine.close()
    assert run_to_end(running_loop()).is_running()


def test_an_end_cancels_what_runs_and_the_next_call_makes_another_loop() -> None:
    started = threading.Event()
    errors: list[BaseException] = []

    async def hang() -> None:
        started.set()
        await asyncio.Event().wait()

    def call() -> None:
        try:
            run_to_end(hang())
        except BaseException as error:  # noqa: BLE001 - for the test
            errors.append(error)

    first = run_to_end(running_loop())
    thread = threading.Thread(target=call)
    thread.start()
    assert started.wait(PATIENCE_SECONDS)
    lasting.end()
    thread.join()
    lasting.end()  # again, for nothing
    assert [type(error) for error in errors] == [asyncio.CancelledError]
    assert first.is_closed()
    assert run_to_end(running_loop()) is not first


# --- processes ---


def in_child(check: Callable[[], object]) -> bool:
    """Return whether check is true in a process that is forked off here."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if check() else 1
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return status == 0


def test_a_forked_process_makes_its_own_loop_and_leaves_the_parents_alone() -> None:
    parents = run_to_end(running_loop())
    with app_running() as (app_loop, loop):
        assert run_to_end(running_loop(), app_loop) is loop
        assert in_child(lambda: run_to_end(running_loop(), app_loop) not in (parents, loop))
    assert run_to_end(running_loop()) is parents
    runners._end_loop()  # pyright: ignore[reportPrivateUsage] # as at exit
    assert parents.is_closed()
    assert in_child(lambda: run_to_end(running_loop()).is_running())


PROGRAM = """
import asyncio, threading
from karla_receiver import Receiver, Request, sign

receiver = Receiver("secret")
background = []

@receiver.on("*")
async def handle(event):
    background.append(asyncio.create_task(asyncio.sleep(3600)))
    print("handled", flush=True)
    {more}

body = b'{{"event_group":"x"}}'
request = Request("POST", {{"Karla-Signature": sign(body, "secret")}}, body)
{call}
"""
CALL = "receiver.receive(request)"
IN_THREAD = """
started = threading.Event()
threading.Thread(target=lambda: (started.set(), receiver.receive(request)), daemon=True).start()
while not background: started.wait(0.01)
"""


@pytest.mark.parametrize(
    ("more", "call"),
    [("", CALL), ("await asyncio.sleep(3600)", IN_THREAD)],
    ids=["with a task left", "with a handler that runs"],
)
def test_a_process_ends_at_once_and_without_a_word(more: str, call: str) -> None:
    run = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", PROGRAM.format(more=more, call=call)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert (run.returncode, run.stdout) == (0, "handled\n"), run.stderr
    # A handler that is cancelled has failed, which is told in the log.
    assert "Traceback" not in run.stderr if call == CALL else "never awaited" not in run.stderr
    assert "destroyed" not in run.stderr
    assert "unclosed" not in run.stderr


def test_importing_and_receiving_without_async_handlers_starts_no_loop() -> None:
    program = """
import sys
from karla_receiver import Receiver, Request
receiver = Receiver("secret")
receiver.on("*")(print)
receiver.receive(Request("POST", {}, b""))
print("asyncio" in sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert run.stdout == b"False\n"
