"""A process that has used a file forks: both go on, and nothing is lost or spoilt."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from karla_receiver import ConfigurationError, current_attempt
from karla_receiver.errors import StorageError
from karla_receiver.idempotency import SQLiteStore
from karla_receiver.inbox import SQLiteInbox
from karla_receiver.inbox.reading import read
from karla_receiver.inbox.worker import Worker
from karla_receiver.sqlite import forking
from karla_receiver.sqlite.file import Session, SQLiteFile
from karla_receiver.sqlite.reader import Reader
from karla_receiver.sqlite.writer import Writer
from tests.inbox.stock import delivery, in_threads, query, served, states
from tests.inbox.test_put import put_async, put_fifty, run_forks
from tests.waiting import PATIENCE_SECONDS, until


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "karla.db"


@pytest.mark.slow
def test_children_of_a_process_that_is_putting_put_as_well(path: Path) -> None:
    inbox = SQLiteInbox(path)
    inbox.put(delivery("first"))
    is_over = threading.Event()
    kept: list[str] = []

    def put_on_and_on() -> None:
        while not is_over.is_set():
            kept.append(f"parent-{len(kept)}")
            assert inbox.put(delivery(kept[-1])) == "new"

    thread = threading.Thread(target=put_on_and_on)
    thread.start()
    run_forks(*[(put_fifty, inbox, name) for name in range(6)], (put_async, inbox, "of a loop"))
    is_over.set()
    thread.join()
    inbox.close()
    assert len(states(path)) == 1 + 6 * 50 + 1 + len(kept)
    assert query(path, "PRAGMA integrity_check") == [("ok",)]


PUT_FIFTY = (
    "import sys\n"
    "from karla_receiver.inbox import SQLiteInbox\n"
    "from karla_receiver.sqlite import file; file.BUSY_SECONDS = 60\n"
    "from tests.inbox.test_put import put_fifty\n"
    "inbox = SQLiteInbox(sys.argv[1])\n"
    "put_fifty(inbox, 9)\n"
    "inbox.close()\n"
)


def test_a_parent_that_closes_the_file_takes_no_lock_of_its_child_along(path: Path) -> None:
    inbox = SQLiteInbox(path)
    inbox.put(delivery("parent"))
    told_parent, told_child = os.pipe(), os.pipe()

    def put_while_others_do() -> None:
        inbox.put(delivery("child"))
        os.write(told_parent[1], b"1")
        os.read(told_child[0], 1)
        put_fifty(inbox, 8)

    def close_and_have_another_put() -> None:
        os.read(told_parent[0], 1)
        inbox.close()  # the last one, as far as it knows
        os.write(told_child[1], b"1")
        root = Path(__file__).parent.parent.parent
        subprocess.run([sys.executable, "-c", PUT_FIFTY, path], cwd=root, check=True)

    thread = threading.Thread(target=close_and_have_another_put)
    thread.start()
    run_forks((put_while_others_do,))
    thread.join()
    for end in (*told_parent, *told_child):
        os.close(end)
    assert len(states(path)) == 102
    assert query(path, "PRAGMA integrity_check") == [("ok",)]


def test_a_process_with_workers_at_work_may_be_forked(path: Path) -> None:
    """As gunicorn does with a preloaded app that starts its inbox."""
    before = SQLiteInbox(path)
    for number in range(200):
        before.put(delivery(f"before-{number}"))
    before.close()
    inbox = SQLiteInbox(path, workers=2)
    served(inbox, lambda event: None)
    inbox.start()

    def put_and_see_it_handled(name: int) -> None:
        assert inbox.put(delivery(f"child-{name}")) == "new"
        until(lambda: states(path)[f"child-{name}"] == "done")
        inbox.close()

    run_forks(*[(put_and_see_it_handled, name) for name in range(4)])
    until(lambda: set(states(path).values()) == {"done"})
    inbox.close()
    assert len(states(path)) == 204


def be_refused(writer: Writer, path: Path) -> None:
    with pytest.raises(StorageError, match="fork before its first use"):
        writer.run(lambda connection: None)
    with pytest.raises(ConfigurationError, match="fork before its first use"):
        SQLiteInbox(path)


def test_a_fork_waits_for_who_writes_but_not_for_ever(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forking, "_PATIENCE_SECONDS", 0.05)
    writer = Writer(SQLiteFile(path))
    in_threads(1, lambda _: writer.reserve())
    run_forks((be_refused, writer, path), (be_refused, writer, path))
    writer.hand_back()
    run_forks((writer.run, lambda connection: None))
    writer.close()


@pytest.fixture(name="_never_waits")
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a test hang that waits for what cannot come."""
    monkeypatch.setattr(forking, "_PATIENCE_SECONDS", 3600)


@pytest.mark.usefixtures("_never_waits")
def test_a_fork_within_a_handler_s_transaction_waits_for_nothing(path: Path) -> None:
    inbox = SQLiteInbox(path, workers=1)
    is_over = threading.Event()

    def fork(event: object) -> None:
        assert current_attempt().transaction
        run_forks((be_refused, inbox._writer, path))  # pyright: ignore[reportPrivateUsage]
        is_over.set()

    served(inbox, fork)
    inbox.put(delivery())
    # Not by looking into the file: forked amid that, a child has SQLite's own lock, and measuring
    # its coverage waits for it for ever.
    assert is_over.wait(PATIENCE_SECONDS)
    until(lambda: states(path) == {"one": "done"})
    inbox.close()


@pytest.mark.slow
@pytest.mark.usefixtures("_never_waits")
@pytest.mark.parametrize("method", ["_takes_hold", "_release", "_commit"])
def test_a_signal_whose_handler_forks_may_come_at_any_line(path: Path, method: str) -> None:
    """Also at one where this very thread has the lock, or the turn."""
    store = SQLiteStore(path)
    store.claim("first", "")
    forks = 0

    def fork(number: int, frame: FrameType | None) -> None:
        nonlocal forks
        child = os.fork()
        if child == 0:
            os._exit(0)
        assert os.waitpid(child, 0) == (child, 0)
        forks += 1

    def signal_at_each_line(frame: FrameType, event: str, argument: object) -> Any:
        if event == "line":
            signal.raise_signal(signal.SIGUSR1)
        return signal_at_each_line if frame.f_code.co_name == method else None

    handler, tracer = signal.signal(signal.SIGUSR1, fork), sys.gettrace()
    sys.settrace(signal_at_each_line)
    try:
        claims = [store.claim(str(number), "").state for number in range(2)]
    finally:
        sys.settrace(tracer)
        signal.signal(signal.SIGUSR1, handler)
    assert claims == ["claimed", "claimed"]
    assert forks
    store.close()


def test_a_lock_that_this_thread_has_is_not_waited_for(path: Path) -> None:
    writer = Writer(SQLiteFile(path))
    with (
        writer._lock,  # pyright: ignore[reportPrivateUsage]
        pytest.raises(StorageError, match="this thread itself is writing"),
    ):
        writer.pause(3600)
    writer.close()


@pytest.mark.usefixtures("_never_waits")
def test_a_signal_whose_handler_forks_may_come_while_waiting_for_a_transaction(path: Path) -> None:
    writer = Writer(SQLiteFile(path))
    writer.reserve()
    told: list[str] = []

    def wait_in_vain(writer: Writer, job: Any, seconds: float) -> None:
        with pytest.raises(StorageError) as caught:
            writer.pause(3600)
        told.append(str(caught.value))
        raise KeyboardInterrupt

    def reserve(_: int) -> None:
        with pytest.raises(KeyboardInterrupt):
            writer.reserve()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Writer, "_wait", wait_in_vain)
        in_threads(1, reserve)
    writer.hand_back()
    assert told == [f"{path}: this thread itself is writing to it"]
    writer.close()


# Forks that Python is not told of, as uWSGI's.


def fork_untold(call: Callable[..., object], *arguments: object) -> None:
    """Run a call in a child process in which none of our hooks has run."""
    parent = os.getpid()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_PAUSABLE", "_RENEWABLE", "_OPEN"):
            patch.setattr(forking, name, weakref.WeakSet[Any]())

        def untold() -> None:
            patch.undo()
            forking._Process.number = parent  # pyright: ignore[reportPrivateUsage]
            call(*arguments)

        run_forks((untold,))


def test_an_inbox_made_before_an_untold_fork_works_in_the_children(path: Path) -> None:
    inbox = SQLiteInbox(path, workers=1)
    served(inbox, lambda event: None)

    def put_and_see_it_handled(name: str) -> None:
        assert inbox.put(delivery(name)) == "new"
        until(lambda: states(path)[name] == "done")
        inbox.close()

    for name in ("one", "two"):
        fork_untold(put_and_see_it_handled, name)
    inbox.close()
    assert states(path) == {"one": "done", "two": "done"}


def test_what_was_in_use_at_an_untold_fork_is_refused_to_the_child_alone(path: Path) -> None:
    inbox = SQLiteInbox(path)
    inbox.put(delivery("before"))
    writer = inbox._writer  # pyright: ignore[reportPrivateUsage]

    def be_refused_by_all() -> None:
        be_refused(writer, path)
        for call in (writer.reserve, lambda: put_async(inbox, "of a loop")):
            with pytest.raises(StorageError, match="py-call-uwsgi-fork-hooks = true"):
                call()
        inbox.close()

    def be_refused_another() -> None:
        with pytest.raises(ConfigurationError, match="lazy-apps = true"):
            SQLiteInbox(path)

    fork_untold(be_refused_by_all)
    fork_untold(be_refused_another)
    fork_untold(SQLiteStore.close, SQLiteStore(path))
    assert inbox.put(delivery("after")) == "new"
    inbox.close()
    assert states(path) == {"before": "waiting", "after": "waiting"}


def put_async_first(inbox: SQLiteInbox) -> None:
    put_async(inbox, "first")


def reserve_first(inbox: SQLiteInbox) -> None:
    writer = inbox._writer  # pyright: ignore[reportPrivateUsage]
    writer.reserve()
    writer.hand_back()


def start_first(inbox: SQLiteInbox) -> None:
    inbox.start(1)
    inbox.put(delivery("first"))
    until(lambda: states(inbox._file.path) == {"first": "done"})  # pyright: ignore[reportPrivateUsage]
    inbox.close()


FIRST: dict[str, Callable[[SQLiteInbox], object]] = {
    "put": lambda inbox: inbox.put(delivery("first")),
    "put_async": put_async_first,
    "reserve": reserve_first,
    "start": start_first,
    "stop": SQLiteInbox.stop,
    "close": SQLiteInbox.close,
    "make": lambda inbox: SQLiteInbox(inbox._file.path),  # pyright: ignore[reportPrivateUsage]
    "fork": lambda inbox: run_forks((inbox.put, delivery("first"))),
}


@pytest.mark.parametrize("first", FIRST.values(), ids=FIRST)
def test_an_untold_fork_is_noticed_whatever_comes_first(
    path: Path, first: Callable[[SQLiteInbox], object]
) -> None:
    """Whatever a thread of the parent had at that time, and whoever worked there."""
    inbox = SQLiteInbox(path)
    served(inbox, lambda event: None)
    inbox.start(1)
    inbox.stop()
    inbox.close()
    writer = inbox._writer  # pyright: ignore[reportPrivateUsage]
    with writer._lock, inbox._starting:  # pyright: ignore[reportPrivateUsage]
        in_threads(1, lambda _: fork_untold(first, inbox))


def test_the_parent_s_worker_is_not_waited_for_after_an_untold_fork(path: Path) -> None:
    """It runs, but not in SQLite, whose locks the child would have: coverage writes with SQLite."""
    is_there, go_on = threading.Event(), threading.Event()

    def clock() -> float:
        if threading.current_thread().name == "karla-worker-books":
            is_there.set()
            assert go_on.wait(PATIENCE_SECONDS)
        return time.time()

    def stop_without_waiting() -> None:
        # A fork that Python is told of ends the parent's threads, so that no wait is seen.
        with pytest.MonkeyPatch.context() as patch:
            patch.delattr(Worker, "stop")
            inbox.stop(3600)

    inbox = SQLiteInbox(path, workers=1, clock=clock)
    served(inbox, lambda event: None)
    inbox.start()
    assert is_there.wait(PATIENCE_SECONDS)
    fork_untold(stop_without_waiting)
    go_on.set()
    inbox.put(delivery("one"))
    until(lambda: states(path) == {"one": "done"})
    inbox.close()


def test_one_thread_notices_an_untold_fork_for_all(path: Path) -> None:
    class Counted:
        calls = 0

        def after_fork(self) -> None:
            self.calls += 1

    counted = Counted()
    forking.renew_after_fork(counted)

    def notice_in_threads() -> None:
        in_threads(8, lambda _: forking.notice_fork())
        assert counted.calls == 1

    fork_untold(notice_in_threads)
    assert counted.calls == 0


def test_a_thread_waits_until_another_has_noticed(path: Path) -> None:
    def wait() -> None:
        lock = threading.Lock()
        forking._Process.locks[os.getpid()] = lock  # pyright: ignore[reportPrivateUsage]
        noticed: list[bool] = []
        waiting = threading.Thread(target=lambda: noticed.append(forking.has_inherited()))
        with lock:
            waiting.start()
            waiting.join(0.1)
            assert noticed == []
            forking._begin_anew()  # pyright: ignore[reportPrivateUsage]
        waiting.join()
        assert len(noticed) == 1

    fork_untold(wait)


def test_the_hook_of_the_child_alone_is_enough(path: Path) -> None:
    """As with uWSGI's py-call-osafterfork."""
    store = SQLiteStore(path)
    store.claim("first", "")

    def run_hook() -> None:
        forking._after_fork_in_child()  # pyright: ignore[reportPrivateUsage]
        be_refused(store._writer, path)  # pyright: ignore[reportPrivateUsage]

    fork_untold(run_hook)
    store.close()


# What runs around a fork, run here, where it can be looked at.


def test_a_fork_amid_another_fork_lets_both_go_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal may come while its thread is about to fork."""
    monkeypatch.setattr(forking, "_PATIENCE_SECONDS", 0.05)
    writer, reader = Writer(SQLiteFile(path)), Reader(SQLiteFile(path))
    for _ in range(2):
        forking._before_fork()  # pyright: ignore[reportPrivateUsage]
    for _ in range(2):
        forking._after_fork_in_parent()  # pyright: ignore[reportPrivateUsage]
    assert writer.run(lambda connection: "written") == "written"
    assert reader.read(lambda connection: "read") == "read"
    assert forking._THREAD.resumptions == []  # pyright: ignore[reportPrivateUsage]
    writer.close()
    reader.close()


@pytest.fixture(name="_alone")
def _nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what other tests have made be."""
    for name in ("_PAUSABLE", "_RENEWABLE", "_OPEN"):
        monkeypatch.setattr(forking, name, weakref.WeakSet[Any]())
    monkeypatch.setattr(forking, "_INHERITED", [])


@pytest.mark.usefixtures("_alone")
@pytest.mark.parametrize("where", ["parent", "child"])
def test_nothing_is_kept_alive_by_a_fork_that_is_over(path: Path, where: str) -> None:
    writer = Writer(SQLiteFile(path))
    kept = weakref.ref(writer)
    forking._before_fork()  # pyright: ignore[reportPrivateUsage]
    getattr(forking, f"_after_fork_in_{where}")()
    del writer
    gc.collect()
    assert kept() is None


def test_what_is_opened_elsewhere_meanwhile_keeps_no_fork_from_pausing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Changing(set[object]):
        changes = 2

        def __iter__(self) -> Iterator[object]:
            self.changes -= 1
            if self.changes >= 0:
                raise RuntimeError("Set changed size during iteration")
            return super().__iter__()

    writer = Writer(SQLiteFile(path))
    writer.run(lambda connection: None)
    monkeypatch.setattr(forking, "_PAUSABLE", Changing([writer]))
    forking._before_fork()  # pyright: ignore[reportPrivateUsage]
    assert not [each for each in _open() if each._path == path]  # pyright: ignore[reportPrivateUsage]
    forking._after_fork_in_parent()  # pyright: ignore[reportPrivateUsage]
    writer.close()


@pytest.mark.usefixtures("_never_waits")
def test_a_fork_waits_for_who_looks_into_an_inbox(path: Path) -> None:
    SQLiteInbox(path).close()
    reading, let_go = threading.Event(), threading.Event()

    def look(connection: object) -> str:
        reading.set()
        let_go.wait(PATIENCE_SECONDS)
        return "seen"

    def use_it() -> None:
        assert read(path, lambda connection: "seen") == "seen"
        SQLiteInbox(path).put(delivery())

    thread = threading.Thread(target=read, args=(path, look))
    thread.start()
    assert reading.wait(PATIENCE_SECONDS)
    threading.Timer(0.1, let_go.set).start()
    run_forks((use_it,))
    thread.join()
    assert states(path) == {"one": "waiting"}


def test_a_fork_waits_not_for_ever_for_who_looks_into_an_inbox(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SQLiteInbox(path).close()
    monkeypatch.setattr(forking, "_PATIENCE_SECONDS", 0.05)
    writer = Writer(SQLiteFile(path))

    def fork_elsewhere(connection: object) -> None:
        in_threads(1, lambda _: run_forks((be_refused, writer, path)))

    read(path, fork_elsewhere)
    writer.close()


@pytest.mark.usefixtures("_alone")
def test_the_child_of_who_looks_into_an_inbox_has_it_open(path: Path) -> None:
    SQLiteInbox(path).close()

    def fork(connection: object) -> bool:
        forking._before_fork()  # pyright: ignore[reportPrivateUsage]
        forking._after_fork_in_child()  # pyright: ignore[reportPrivateUsage]
        return forking.has_inherited()

    assert read(path, fork)


@pytest.mark.usefixtures("_never_waits")
def test_who_looks_into_an_inbox_waits_not_for_itself(path: Path) -> None:
    SQLiteInbox(path).close()
    writer = Writer(SQLiteFile(path))
    read(path, lambda connection: run_forks((be_refused, writer, path)))
    run_forks((writer.run, lambda connection: None))
    writer.close()


def test_nothing_is_open_across_a_fork_and_all_go_on_afterwards(path: Path) -> None:
    file = SQLiteFile(path)
    writer, reader = Writer(file), Reader(file)
    writer.run(lambda connection: None)
    reader.read(lambda connection: None)

    forking._before_fork()  # pyright: ignore[reportPrivateUsage]
    assert not [each for each in _open() if each._path == path]  # pyright: ignore[reportPrivateUsage]
    forking._after_fork_in_parent()  # pyright: ignore[reportPrivateUsage]
    for each in (writer, reader):
        each.after_fork()
    assert writer.run(lambda connection: "written") == "written"
    assert reader.read(lambda connection: "read") == "read"
    writer.close()
    reader.close()


def _open() -> list[Session]:
    return list(forking._OPEN)  # pyright: ignore[reportPrivateUsage]


def test_what_could_not_be_closed_is_kept_in_the_child_and_no_other_is_opened(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = SQLiteFile(path).open()
    open_there: weakref.WeakSet[Session] = weakref.WeakSet([session])
    kept: list[object] = []
    for name, value in (("_OPEN", open_there), ("_INHERITED", kept), ("_RENEWABLE", set[object]())):
        monkeypatch.setattr(forking, name, value)
    forking._THREAD.resumptions.append([])  # pyright: ignore[reportPrivateUsage]
    forking._after_fork_in_child()  # pyright: ignore[reportPrivateUsage]
    assert kept == [session]
    with pytest.raises(ConfigurationError, match="fork before its first use"):
        SQLiteFile(path)
    monkeypatch.undo()
    session.close()


def test_who_reads_is_waited_for_but_not_for_ever(path: Path) -> None:
    reader = Reader(SQLiteFile(path))

    def fork_meanwhile(connection: object) -> None:
        with pytest.raises(StorageError, match="is being read"):
            reader.pause(0.01)

    reader.read(fork_meanwhile)
    reader.pause(0.01)()
    reader.close()


def test_a_connection_that_cannot_be_opened_counts_as_closed(tmp_path: Path) -> None:
    file = SQLiteFile(tmp_path / "karla.db")
    before = _open()
    (tmp_path / "karla.db").unlink()
    tmp_path.rename(tmp_path.with_name("moved"))
    with pytest.raises(StorageError, match="cannot be opened"):
        file.open()
    assert _open() == before


def test_a_worker_is_its_own_process_s(path: Path) -> None:
    inbox = SQLiteInbox(path, workers=1)
    served(inbox, lambda event: None)
    inbox.after_fork()
    inbox.put(delivery("before"))
    until(lambda: states(path) == {"before": "done"})
    worker = inbox._worker  # pyright: ignore[reportPrivateUsage]
    assert worker is not None
    inbox.after_fork()
    inbox.put(delivery("after"))
    until(lambda: states(path)["after"] == "done")
    assert inbox._worker is not worker  # pyright: ignore[reportPrivateUsage]
    assert worker.stop(10)
    inbox.close()
