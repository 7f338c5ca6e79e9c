"""A process that has used a file forks: both go on, and nothing is lost or spoilt."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import pytest

from karla_receiver import ConfigurationError
from karla_receiver.errors import StorageError
from karla_receiver.inbox import SQLiteInbox
from karla_receiver.sqlite import forking
from karla_receiver.sqlite.file import Session, SQLiteFile
from karla_receiver.sqlite.group_commit import GroupCommit
from karla_receiver.sqlite.reader import Reader
from tests.inbox.stock import delivery, query, served, states, until
from tests.inbox.test_put import put_async, put_fifty, run_forks


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "karla.db"


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


def test_a_fork_waits_for_who_writes_but_not_for_ever(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forking, "_PATIENCE_SECONDS", 0.05)
    writer = GroupCommit(SQLiteFile(path))
    writer.reserve()

    def be_refused() -> None:
        with pytest.raises(StorageError, match="fork before its first use"):
            writer.run(lambda connection: None)
        with pytest.raises(ConfigurationError, match="fork before its first use"):
            SQLiteInbox(path)

    run_forks((be_refused,), (be_refused,))
    writer.hand_back()
    run_forks((writer.run, lambda connection: None))
    writer.close()


# What runs around a fork, run here, where it can be looked at.


def test_nothing_is_open_across_a_fork_and_all_go_on_afterwards(path: Path) -> None:
    file = SQLiteFile(path)
    writer, reader = GroupCommit(file), Reader(file)
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
