from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from karla_receiver.errors import StorageError
from karla_receiver.sqlite.file import Session, SQLiteFile
from karla_receiver.sqlite.writer import Writer
from tests.inbox.stock import in_threads, query
from tests.waiting import PATIENCE_SECONDS, until


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    path = tmp_path / "karla.db"
    query(path, "CREATE TABLE notes (text)")
    return path


@pytest.fixture(name="writer")
def _writer(path: Path) -> Iterator[Writer]:
    writer = Writer(SQLiteFile(path))
    yield writer
    writer.close()


class Note:
    """Work that writes one row, and says when it is at it."""

    def __init__(self, text: str, error: BaseException | None = None) -> None:
        self.text = text
        self.error = error

    def __call__(self, connection: sqlite3.Connection) -> str:
        if self.error is not None:
            raise self.error
        connection.execute("INSERT INTO notes VALUES (?)", (self.text,))
        return self.text


class Slow:
    """Work that holds everybody else up until it is let go."""

    def __init__(self) -> None:
        self.has_begun, self.let_go = threading.Event(), threading.Event()

    def __call__(self, connection: sqlite3.Connection) -> None:
        self.has_begun.set()
        assert self.let_go.wait(PATIENCE_SECONDS)


def notes(path: Path) -> list[str]:
    return sorted(text for (text,) in query(path, "SELECT text FROM notes"))


def queue(writer: Writer) -> int:
    return len(writer._queue)  # pyright: ignore[reportPrivateUsage]


def held_up(writer: Writer) -> tuple[Slow, threading.Thread]:
    slow = Slow()
    thread = threading.Thread(target=writer.run, args=(slow,))
    thread.start()
    assert slow.has_begun.wait(PATIENCE_SECONDS)
    return slow, thread


def let_go_when(writer: Writer, slow: Slow, *, queued: int) -> threading.Thread:
    def wait_and_let_go() -> None:
        until(lambda: queue(writer) == queued)
        slow.let_go.set()

    thread = threading.Thread(target=wait_and_let_go)
    thread.start()
    return thread


def test_who_comes_while_one_is_writing_shares_a_commit(
    writer: Writer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits: list[int] = []
    original = SQLiteFile.transact

    def counting(file: SQLiteFile, session: Session, work: object) -> object:
        commits.append(1)
        return original(file, session, work)  # type: ignore[arg-type]

    monkeypatch.setattr(SQLiteFile, "transact", counting)
    slow, thread = held_up(writer)
    letting_go = let_go_when(writer, slow, queued=20)
    in_threads(20, lambda number: writer.run(Note(str(number))))
    thread.join()
    letting_go.join()
    assert len(notes(path)) == 20
    assert len(commits) == 2


def test_a_commit_is_for_256_at_most(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    commits: list[int] = []
    commit = Writer._commit  # pyright: ignore[reportPrivateUsage]

    def counting(writer: Writer, jobs: list[Any]) -> None:
        commits.append(len(jobs))
        commit(writer, jobs)

    async def write(slow: Slow) -> None:
        tasks = [asyncio.create_task(writer.run_async(Note(str(n)))) for n in range(300)]
        await asyncio.sleep(0)
        slow.let_go.set()
        await asyncio.gather(*tasks)

    monkeypatch.setattr(Writer, "_commit", counting)
    slow, thread = held_up(writer)
    asyncio.run(write(slow))
    thread.join()
    assert commits == [1, 256, 44]


def test_nobody_overtakes_who_waits(
    writer: Writer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.reserve()
    waiting = threading.Thread(target=writer.run, args=(Note("first"),))
    waiting.start()
    until(lambda: queue(writer) == 1)
    # With its lock, so that the thread cannot take the queue, although the file is free.
    with writer._lock, monkeypatch.context() as patch:  # pyright: ignore[reportPrivateUsage]
        patch.setattr("karla_receiver.sqlite.writer._PATIENCE_SECONDS", 0.01)
        writer.hand_back()
        with pytest.raises(StorageError, match="has kept its transaction"):
            writer.run(Note("second"))
    waiting.join()
    assert notes(path) == ["first"]


def test_a_reservation_shares_no_commit_with_who_is_queued_before_or_behind_it(
    writer: Writer, path: Path
) -> None:
    slow, first = held_up(writer)
    seen: list[list[str]] = []

    def reserve() -> None:
        session = writer.reserve()
        seen.append(notes(path))
        Note("undone")(session.connection)
        writer.hand_back()

    calls = (
        lambda: writer.run(Note("before")),
        reserve,
        lambda: writer.run(Note("behind")),
    )
    threads = [threading.Thread(target=call) for call in calls]
    for number, thread in enumerate(threads, 1):
        thread.start()
        until(lambda number=number: queue(writer) == number)  # type: ignore[misc]
    slow.let_go.set()
    for thread in (first, *threads):
        thread.join()
    assert seen == [["before"]]
    assert notes(path) == ["before", "behind"]


def test_a_pause_comes_before_what_is_queued(writer: Writer, path: Path) -> None:
    """A fork waits for the transaction that is running, and not for the queue."""
    slow, first = held_up(writer)
    queued = threading.Thread(target=writer.run, args=(Note("queued"),))
    queued.start()
    until(lambda: queue(writer) == 1)
    letting_go = let_go_when(writer, slow, queued=2)
    resume = writer.pause(PATIENCE_SECONDS)
    assert notes(path) == []
    assert queue(writer) == 1
    resume()
    for each in (first, letting_go, queued):
        each.join()
    assert notes(path) == ["queued"]


def test_work_that_pauses_the_thread_that_does_it_is_refused_at_once(writer: Writer) -> None:
    """As if it forked."""

    def pause(connection: object) -> str:
        with pytest.raises(StorageError) as caught:
            writer.pause(3600)
        return str(caught.value)

    for told in (asyncio.run(writer.run_async(pause)), writer.run(pause)):
        assert told.endswith("this thread itself is writing to it")


def test_one_caller_s_fault_is_no_other_s(writer: Writer, path: Path) -> None:
    slow, thread = held_up(writer)
    outcomes: dict[int, object] = {}

    def write(number: int) -> None:
        try:
            error = ValueError("mine") if number == 3 else None
            outcomes[number] = writer.run(Note(str(number), error))
        except ValueError as error:
            outcomes[number] = error

    letting_go = let_go_when(writer, slow, queued=6)
    in_threads(6, write)
    thread.join()
    letting_go.join()
    assert isinstance(outcomes.pop(3), ValueError)
    assert outcomes == {number: str(number) for number in (0, 1, 2, 4, 5)}
    assert notes(path) == ["0", "1", "2", "4", "5"]


@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt(), SystemExit()])
def test_what_work_raises_is_raised_and_nothing_is_written(
    writer: Writer, path: Path, error: BaseException
) -> None:
    with pytest.raises(type(error)):
        writer.run(Note("lost", error))
    assert writer.run(Note("kept")) == "kept"
    assert notes(path) == ["kept"]


def test_a_cancelled_task_holds_nobody_up_and_is_told_nothing(writer: Writer, path: Path) -> None:
    async def cancel_some() -> list[object]:
        tasks = [asyncio.create_task(writer.run_async(Note(str(n)))) for n in range(10)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    outcomes = asyncio.run(cancel_some())
    assert all(isinstance(each, asyncio.CancelledError) for each in outcomes[::2])
    assert outcomes[1::2] == ["1", "3", "5", "7", "9"]
    assert set(outcomes[1::2]) <= set(notes(path))


def test_an_error_reaches_every_task(writer: Writer) -> None:
    async def fail() -> list[object]:
        works = [writer.run_async(Note("", ValueError())) for _ in range(3)]
        return await asyncio.gather(*works, return_exceptions=True)

    assert [type(each) for each in asyncio.run(fail())] == [ValueError] * 3


def test_a_loop_that_was_closed_is_no_matter(writer: Writer, path: Path) -> None:
    slow, thread = held_up(writer)

    async def leave_behind() -> None:
        task = asyncio.create_task(writer.run_async(Note("left behind")))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(leave_behind())
    slow.let_go.set()
    thread.join()
    until(lambda: notes(path) == ["left behind"])
    assert writer.run(Note("next")) == "next"


def no_thread(_: threading.Thread) -> NoReturn:
    raise RuntimeError("can't start new thread")


def test_without_a_thread_for_it_a_task_is_refused(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(StorageError, match="no thread to write it"):
            asyncio.run(writer.run_async(Note("no")))
    assert asyncio.run(writer.run_async(Note("yes"))) == "yes"


def test_without_a_thread_for_them_those_who_wait_are_refused(
    writer: Writer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, first = held_up(writer)
    refused: list[StorageError] = []

    def write() -> None:
        with pytest.raises(StorageError, match="no thread to write it") as error:
            writer.run(Note("no"))
        refused.append(error.value)

    start = threading.Thread.start

    def start_no_writer(thread: threading.Thread) -> None:
        (no_thread if thread.name == "karla-writer" else start)(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start_no_writer)
        in_threads(1, lambda _: write())
        slow.let_go.set()
        first.join()
    assert len(refused) == 1
    assert writer.run(Note("yes")) == "yes"
    assert notes(path) == ["yes"]


def test_a_reservation_is_for_one_alone_and_in_its_turn(writer: Writer, path: Path) -> None:
    running = 0

    def write(number: int) -> None:
        nonlocal running
        session = writer.reserve()
        running += 1
        assert running == 1
        Note(str(number))(session.connection)
        session.commit()
        running -= 1
        writer.hand_back()
        writer.run(Note("between"))

    in_threads(8, write)
    assert len(notes(path)) == 16


def test_what_was_reserved_and_not_committed_is_undone(writer: Writer, path: Path) -> None:
    for _ in range(2):
        Note("undone")(writer.reserve().connection)
        writer.hand_back()
    assert writer.run(Note("kept")) == "kept"
    assert notes(path) == ["kept"]


def test_a_reservation_in_a_locked_file_is_refused_and_blocks_nobody(
    writer: Writer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("karla_receiver.sqlite.file.BUSY_SECONDS", 0.01)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match="locked"):
        writer.reserve()
    other.close()
    assert writer.run(Note("kept")) == "kept"


def test_a_reservation_that_waits_too_long_is_given_up(
    writer: Writer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("karla_receiver.sqlite.writer._PATIENCE_SECONDS", 0.05)
    writer.reserve()

    def wait(_: int) -> None:
        with pytest.raises(StorageError, match="has kept its transaction"):
            writer.reserve()

    in_threads(1, wait)
    writer.hand_back()
    assert writer.run(Note("kept")) == "kept"


def test_a_thread_that_has_the_transaction_does_not_wait_for_itself(writer: Writer) -> None:
    """Two async handlers on one event loop are in one thread."""
    writer.reserve()
    with pytest.raises(StorageError, match="another async handler on this event loop"):
        writer.reserve()
    writer.hand_back()
    assert writer.run(Note("kept")) == "kept"


def test_who_is_being_written_for_waits_for_the_end(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit that takes long is no reason to say that it failed."""
    slow = Slow()
    told: list[str] = []
    withdrawn: list[bool] = []
    withdraw = Writer._withdraw  # pyright: ignore[reportPrivateUsage]
    wait = Writer._wait  # pyright: ignore[reportPrivateUsage]
    wait_in_loop = asyncio.wait

    def noted(writer: Writer, job: Any) -> bool:
        withdrawn.append(withdraw(writer, job))
        return withdrawn[-1]

    # The patience of both ends when they are being written for, and not before.
    def impatient(writer: Writer, job: Any, seconds: float) -> None:
        assert slow.has_begun.wait(PATIENCE_SECONDS)
        wait(writer, job, 0.01)

    async def impatient_in_loop(futures: Any, *, timeout: float) -> Any:  # noqa: ASYNC109
        assert await asyncio.to_thread(slow.has_begun.wait, PATIENCE_SECONDS)
        return await wait_in_loop(futures, timeout=0.01)

    def wait_in_thread() -> None:
        writer.run(slow)
        told.append("thread")

    async def wait_in_task() -> None:
        await writer.run_async(slow)
        told.append("task")

    monkeypatch.setattr(Writer, "_withdraw", noted)
    monkeypatch.setattr(Writer, "_wait", impatient)
    monkeypatch.setattr(asyncio, "wait", impatient_in_loop)
    writer.reserve()
    waiting = [
        threading.Thread(target=wait_in_thread),
        threading.Thread(target=lambda: asyncio.run(wait_in_task())),
    ]
    for number, thread in enumerate(waiting, 1):
        thread.start()
        until(lambda number=number: queue(writer) >= number)  # type: ignore[misc]
    writer.hand_back()
    until(lambda: withdrawn == [False, False])
    slow.let_go.set()
    for thread in waiting:
        thread.join()
    assert sorted(told) == ["task", "thread"]


def test_a_task_waits_for_a_short_reservation(writer: Writer) -> None:
    writer.reserve()
    threading.Timer(0.05, writer.hand_back).start()
    assert asyncio.run(writer.run_async(Note("after"))) == "after"


def test_a_reservation_in_a_file_that_is_gone_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    writer = Writer(SQLiteFile(directory / "karla.db"))
    directory.rename(tmp_path / "moved")
    with pytest.raises(StorageError, match="cannot be opened"):
        writer.reserve()
    directory.mkdir()
    assert writer.run(lambda connection: "kept") == "kept"
    writer.close()


def interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


CALLS: dict[str, Callable[[Writer], object]] = {
    "run": lambda writer: writer.run(Note("interrupted")),
    "reserve": lambda writer: writer.reserve(),
    "close": lambda writer: writer.close(),
}


@pytest.mark.parametrize("call", CALLS)
def test_who_is_interrupted_when_the_turn_is_won_keeps_nobody_waiting(
    writer: Writer, path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    win = Writer._takes_hold  # pyright: ignore[reportPrivateUsage]

    def win_and_interrupt(writer: Writer, job: Any, *, ahead: bool = False) -> None:
        assert win(writer, job, ahead=ahead)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "_takes_hold", win_and_interrupt)
        with pytest.raises(KeyboardInterrupt):
            CALLS[call](writer)
    assert writer.run(Note("next")) == "next"
    assert notes(path) == ["next"]


@pytest.mark.parametrize("call", CALLS)
def test_who_is_interrupted_while_waiting_is_waited_for_by_nobody(
    writer: Writer, path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    slow, thread = held_up(writer)
    with monkeypatch.context() as patch:
        patch.setattr(Writer, "_wait", interrupt)
        with pytest.raises(KeyboardInterrupt):
            CALLS[call](writer)
    slow.let_go.set()
    thread.join()
    assert writer.run(Note("next")) == "next"
    assert notes(path) == ["next"]
    assert not writer._reservations  # pyright: ignore[reportPrivateUsage]


def test_who_is_interrupted_when_its_transaction_has_begun_leaves_none_behind(
    writer: Writer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Session.begin

    def begin_and_interrupt(session: Session) -> NoReturn:
        begin(session)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Session, "begin", begin_and_interrupt)
        with pytest.raises(KeyboardInterrupt):
            writer.reserve()
    assert writer.run(Note("next")) == "next"
    assert notes(path) == ["next"]


def test_work_that_exits_ends_its_own_caller_and_not_the_writing(
    writer: Writer, path: Path
) -> None:
    for _ in range(2):
        with pytest.raises(SystemExit):
            asyncio.run(writer.run_async(Note("exits", SystemExit())))
    assert asyncio.run(writer.run_async(Note("next"))) == "next"
    assert notes(path) == ["next"]


@pytest.mark.parametrize("is_reservation", [False, True])
def test_who_waits_behind_one_that_waited_for_a_lock_in_vain_is_refused_with_it(
    writer: Writer, path: Path, monkeypatch: pytest.MonkeyPatch, is_reservation: bool
) -> None:
    """And does not wait as long again."""
    waits: list[int] = []

    def wait_in_vain(session: Session) -> NoReturn:
        waits.append(1)
        until(lambda: queue(writer) == 9)
        error = sqlite3.OperationalError("database is locked")
        error.sqlite_errorname = "SQLITE_BUSY"
        raise error

    refused: list[StorageError] = []

    def refuse(call: Callable[[], object]) -> None:
        with pytest.raises(StorageError, match="has had it locked") as raised:
            call()
        refused.append(raised.value)

    def put(number: int) -> None:
        if number == 0:
            refuse(writer.reserve if is_reservation else lambda: writer.run(Note("first")))
            return
        until(lambda: waits)
        if number < 5:
            refuse(lambda: writer.run(Note(str(number))))
        elif number < 9:
            refuse(lambda: asyncio.run(writer.run_async(Note(str(number)))))
        else:
            until(lambda: queue(writer) == 8)
            writer.reserve()  # a handler's, which waits for itself
            writer.hand_back()

    with monkeypatch.context() as patch:
        begin = Session.begin
        patch.setattr(
            Session,
            "begin",
            lambda session: begin(session) if waits else wait_in_vain(session),
        )
        in_threads(10, put)
    assert len(waits) == 1
    assert len(refused) == 9
    assert writer.run(Note("next")) == "next"
    assert notes(path) == ["next"]


def test_what_sqlite_refuses_of_one_is_no_other_s_fault(writer: Writer, path: Path) -> None:
    def refused(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO notes VALUES (?)", ({"no": "text"},))

    errors: list[StorageError] = []

    def call(number: int) -> None:
        if number == 1:
            with pytest.raises(StorageError) as raised:
                writer.run(refused)
            errors.append(raised.value)
        else:
            writer.run(Note(str(number)))

    slow, thread = held_up(writer)
    letting = let_go_when(writer, slow, queued=4)
    in_threads(4, call)
    for each in (thread, letting):
        each.join()
    assert len(errors) == 1
    assert notes(path) == ["0", "2", "3"]


def test_closing_ends_its_thread_and_the_next_call_may_have_another(
    writer: Writer, path: Path
) -> None:
    threads: list[threading.Thread] = []
    for number in range(3):
        assert asyncio.run(writer.run_async(Note(str(number)))) == str(number)
        thread = writer._thread  # pyright: ignore[reportPrivateUsage]
        assert thread is not None
        threads.append(thread)
        writer.close()
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()
    assert len(set(threads)) == 3
    assert notes(path) == ["0", "1", "2"]


def test_the_thread_of_a_closed_writer_writes_what_is_queued(
    writer: Writer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(writer.run_async(Note("before")))
    thread = writer._thread  # pyright: ignore[reportPrivateUsage]
    assert thread is not None
    calling = threading.Thread(target=writer.run, args=(Note("meanwhile"),))
    drop = Writer._drop  # pyright: ignore[reportPrivateUsage]

    def drop_when_one_is_queued(writer: Writer) -> None:
        if calling.ident is None:
            calling.start()
            until(lambda: queue(writer) == 1)
        else:  # it is closed, and holds the file for the last moment
            with writer._changed:  # pyright: ignore[reportPrivateUsage]
                writer._changed.notify_all()  # pyright: ignore[reportPrivateUsage]
            thread.join(0.05)
            assert thread.is_alive()
        drop(writer)

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "_drop", drop_when_one_is_queued)
        writer.close()
    calling.join(PATIENCE_SECONDS)
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()
    assert notes(path) == ["before", "meanwhile"]


def test_no_thread_outlives_a_writer_that_is_closed_while_it_gets_another(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[threading.Thread] = set()
    calls: list[threading.Thread] = []
    drop = Writer._drop  # pyright: ignore[reportPrivateUsage]

    def drop_when_one_is_queued(writer: Writer) -> None:
        if writer._thread is None:  # pyright: ignore[reportPrivateUsage]
            calls.append(threading.Thread(target=writer.run, args=(Note("meanwhile"),)))
            calls[-1].start()
            until(lambda: queue(writer) == 1)
            assert writer._thread is not None  # pyright: ignore[reportPrivateUsage]
            threads.add(writer._thread)  # pyright: ignore[reportPrivateUsage]
        drop(writer)

    asyncio.run(writer.run_async(Note("first")))
    with monkeypatch.context() as patch:
        patch.setattr(Writer, "_drop", drop_when_one_is_queued)
        for _ in range(20):
            writer.close()
            calls[-1].join()
    writer.close()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()
    assert len(threads) == 20


def test_what_comes_while_it_is_closed_is_written(writer: Writer, path: Path) -> None:
    async def write(number: int) -> None:
        for each in range(20):
            await writer.run_async(Note(f"{number}-{each}"))

    def write_or_close(number: int) -> None:
        for _ in range(20 if number == 0 else 0):
            writer.close()
        if number:
            asyncio.run(write(number))

    in_threads(4, write_or_close)
    assert len(notes(path)) == 60
