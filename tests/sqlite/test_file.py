"""What can become of the file: each gives StorageError, never True, and heals where it can."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from karla_receiver import ConfigurationError, Receiver
from karla_receiver.errors import StorageError
from karla_receiver.inbox import SQLiteInbox
from karla_receiver.sqlite.file import Session, SQLiteFile
from karla_receiver.sqlite.schema import VERSION
from tests.inbox.stock import delivery, in_threads, query, states
from tests.signing import SECRET, signed


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "karla.db"


@pytest.fixture(name="inbox")
def _inbox(path: Path) -> Iterator[SQLiteInbox]:
    inbox = SQLiteInbox(path)
    inbox.put(delivery("first"))
    yield inbox
    inbox.close()


def remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def test_every_commit_is_flushed(path: Path) -> None:
    session = SQLiteFile(path).open()
    settings = [
        session.connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "fullfsync")
    ]
    session.close()
    assert settings == ["wal", 2, 1]


def test_a_deleted_file_is_noticed_and_then_made_anew(inbox: SQLiteInbox, path: Path) -> None:
    remove(path)
    with pytest.raises(StorageError, match="deleted or replaced while in use"):
        inbox.put(delivery("second"))

    assert inbox.put(delivery("third")) == "new"
    assert states(path) == {"third": "waiting"}


def test_a_deleted_log_is_noticed(inbox: SQLiteInbox, path: Path) -> None:
    Path(f"{path}-wal").unlink()
    with pytest.raises(StorageError, match="deleted or replaced"):
        inbox.put(delivery("second"))


def test_a_replaced_file_is_noticed_and_then_used(inbox: SQLiteInbox, path: Path) -> None:
    other = path.with_name("other.db")
    SQLiteInbox(other).close()
    remove(path)
    other.rename(path)
    with pytest.raises(StorageError, match="deleted or replaced"):
        inbox.put(delivery("second"))

    assert inbox.put(delivery("third")) == "new"
    assert states(path) == {"third": "waiting"}


def test_a_deleted_directory_is_waited_for(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    inbox = SQLiteInbox(directory / "karla.db")
    inbox.put(delivery("first"))
    directory.rename(tmp_path / "moved")
    for _ in range(3):
        with pytest.raises(StorageError):
            inbox.put(delivery("second"))

    (tmp_path / "moved").rename(directory)
    # The second was written to the file that had gone, and refused: kept, not acknowledged.
    assert inbox.put(delivery("second")) == "duplicate"
    assert inbox.put(delivery("third")) == "new"
    assert set(states(directory / "karla.db")) == {"first", "second", "third"}
    inbox.close()


LOCK = """
import sqlite3, sys
other = sqlite3.connect(sys.argv[1], isolation_level=None)
for _ in sys.stdin:
    other.execute("BEGIN IMMEDIATE")
    print("locked", flush=True)
    sys.stdin.readline()
    other.execute("ROLLBACK")
    print("unlocked", flush=True)
"""


class Locker:
    """Another process, which locks a file and unlocks it."""

    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", LOCK, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def turn(self, state: str) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline().strip() == state

    def end(self) -> None:
        self._process.communicate()


def test_a_locked_file_is_waited_for_a_second() -> None:
    """A fresh process has the promise itself, not the patience of these tests."""
    program = "from karla_receiver.sqlite.file import BUSY_SECONDS as s; raise SystemExit(s != 1)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


@pytest.mark.slow
def test_a_file_that_another_process_locks_is_waited_for_and_then_refused(
    inbox: SQLiteInbox, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All who put at once are refused together: they do not wait one after the other."""
    waits: list[float] = []
    begin = Session.begin

    def timed(session: Session) -> None:
        begun = time.monotonic()
        try:
            begin(session)
        finally:
            waits.append(time.monotonic() - begun)

    def be_refused(number: int) -> None:
        with pytest.raises(StorageError, match="another process has had it locked for 1 s"):
            inbox.put(delivery(f"refused-{number}"))

    locker = Locker(path)
    for count, most_waits in ((1, 1), (32, 16), (8, 8)):
        locker.turn("locked")
        with monkeypatch.context() as patch:
            patch.setattr("karla_receiver.sqlite.file.BUSY_SECONDS", 0.2)
            patch.setattr(Session, "begin", timed)
            waits.clear()
            in_threads(count, be_refused)
        assert 1 <= len(waits) <= most_waits
        assert min(waits) >= 0.2
        locker.turn("unlocked")
        assert inbox.put(delivery(f"kept after {count}")) == "new"
    locker.end()
    assert set(states(path)) == {"first", "kept after 1", "kept after 32", "kept after 8"}


def test_a_locked_file_never_blocks_the_event_loop(inbox: SQLiteInbox, path: Path) -> None:
    async def put_and_tick(other: sqlite3.Connection) -> str:
        put = asyncio.create_task(inbox.put_async(delivery("second")))
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert not put.done()
        other.execute("ROLLBACK")
        return await put

    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert asyncio.run(put_and_tick(other)) == "new"


def test_a_locked_file_is_refused_to_a_task(
    inbox: SQLiteInbox, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("karla_receiver.sqlite.file.BUSY_SECONDS", 0.01)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="locked"):
            asyncio.run(inbox.put_async(delivery("second")))


def test_a_file_that_is_unlocked_in_time_is_written(
    inbox: SQLiteInbox, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        def unlock(*_: object) -> float:
            if other.in_transaction:
                other.execute("ROLLBACK")
            return 0

        monkeypatch.setattr("random.uniform", unlock)  # of the wait for the next try
        assert inbox.put(delivery("second")) == "new"
        assert not other.in_transaction, "it was locked when it was first tried"


def test_a_corrupt_file_is_refused_until_it_is_moved_away(path: Path) -> None:
    inbox = SQLiteInbox(path)
    for number in range(50):
        inbox.put(delivery(str(number)))
    inbox.close()
    good = path.read_bytes()
    path.write_bytes(good[:100] + b"\xff" * (len(good) - 100))
    for _ in range(3):
        with pytest.raises(StorageError, match="corrupt: put a good copy in its place"):
            inbox.put(delivery("new"))
    path.write_bytes(b"not a database, but long enough to be taken for one" * 100)
    with pytest.raises(StorageError, match="not a SQLite database"):
        inbox.put(delivery("new"))

    path.write_bytes(good)
    assert inbox.put(delivery("new")) == "new"
    assert inbox.put(delivery("0")) == "duplicate"
    inbox.close()


def test_no_database_is_refused_when_the_inbox_is_made(path: Path) -> None:
    path.write_bytes(b"something else" * 1000)
    with pytest.raises(ConfigurationError, match="it is not a SQLite database"):
        SQLiteInbox(path)


def test_a_newer_schema_is_refused(path: Path) -> None:
    SQLiteInbox(path).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE karla_schema SET version = ?", (VERSION + 1,))
    with pytest.raises(ConfigurationError, match=f"version {VERSION + 1}, and .* knows {VERSION}"):
        SQLiteInbox(path)


def test_a_schema_that_becomes_newer_is_refused(inbox: SQLiteInbox, path: Path) -> None:
    inbox.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE karla_schema SET version = 99")
    with pytest.raises(StorageError, match="schema version 99"):
        inbox.put(delivery("second"))


def old_file(path: Path, version: int) -> None:
    """Make a file as that version of the schema left it, with a row in each of its tables."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE orders (id)")
        if version >= 1:
            connection.executescript(
                """CREATE TABLE karla_schema (version INTEGER NOT NULL);
                INSERT INTO karla_schema VALUES (1);
                CREATE TABLE karla_claims (
                    identity BLOB PRIMARY KEY, occurrence BLOB NOT NULL, token TEXT,
                    lease_from REAL, lease_to REAL, at REAL NOT NULL
                ) WITHOUT ROWID;
                CREATE INDEX karla_claims_at ON karla_claims (at);
                CREATE INDEX karla_claims_occurrence ON karla_claims (occurrence);
                INSERT INTO karla_claims VALUES (x'00', x'01', NULL, 1, 2, 3);"""
            )
        if version >= 2:
            connection.executescript(
                """UPDATE karla_schema SET version = 2;
                CREATE TABLE karla_inbox (
                    id INTEGER PRIMARY KEY, identity BLOB NOT NULL, endpoint TEXT NOT NULL,
                    state TEXT NOT NULL, due REAL NOT NULL, attempts INTEGER NOT NULL,
                    takes INTEGER NOT NULL, worker INTEGER, lane TEXT, changed_at REAL NOT NULL,
                    received_at REAL NOT NULL, key TEXT NOT NULL, occurrence TEXT NOT NULL,
                    ref TEXT, event_group TEXT, note TEXT
                );
                CREATE TABLE karla_content (
                    id INTEGER PRIMARY KEY, headers BLOB NOT NULL, body BLOB NOT NULL
                );
                CREATE UNIQUE INDEX karla_inbox_identity ON karla_inbox (identity);
                CREATE INDEX karla_inbox_due ON karla_inbox (endpoint, due DESC)
                    WHERE state = 'waiting';
                CREATE INDEX karla_inbox_worker ON karla_inbox (worker) WHERE state = 'running';
                CREATE INDEX karla_inbox_lane ON karla_inbox (endpoint, lane)
                    WHERE lane IS NOT NULL AND state IN ('waiting', 'running');
                CREATE INDEX karla_inbox_done ON karla_inbox (endpoint, changed_at)
                    WHERE state = 'done';
                CREATE TABLE karla_workers (
                    id INTEGER PRIMARY KEY AUTOINCREMENT, endpoint TEXT NOT NULL,
                    beat REAL NOT NULL, lease REAL NOT NULL, pid INTEGER NOT NULL
                );
                INSERT INTO karla_inbox VALUES (1, x'00', 'default', 'waiting', 0, 0, 0, NULL,
                    NULL, 4, 4, 'old', 'occurrence of one', NULL, 'parcel', NULL);
                INSERT INTO karla_content VALUES (1, '[]', '{}');"""
            )


@pytest.mark.parametrize("version", [0, 1, 2])
def test_an_older_file_is_upgraded_and_keeps_what_it_has(path: Path, version: int) -> None:
    old_file(path, version)
    inbox = SQLiteInbox(path)
    assert query(path, "SELECT count(*) FROM karla_time") == [(0,)]
    # An occurrence that the old file holds is known.
    assert inbox.put(delivery()) == ("near_duplicate" if version == 2 else "new")
    inbox.close()
    assert query(path, "SELECT version FROM karla_schema") == [(VERSION,)]
    assert query(path, "SELECT count(*) FROM karla_claims") == [(min(version, 1),)]
    assert set(states(path)) == ({"old", "one"} if version == 2 else {"one"})
    assert query(path, "SELECT count(*) FROM orders") == [(0,)]


@pytest.mark.slow
def test_many_processes_may_upgrade_at_once(path: Path) -> None:
    old_file(path, 0)
    program = (
        "import sys; from karla_receiver.inbox import SQLiteInbox\n"
        "from karla_receiver.sqlite import file; file.BUSY_SECONDS = 60\n"
        "SQLiteInbox(sys.argv[1]).close()\n"
    )
    command = [sys.executable, "-c", program, str(path)]
    children = [subprocess.Popen(command) for _ in range(4)]
    assert [child.wait() for child in children] == [0] * 4
    assert query(path, "SELECT version FROM karla_schema") == [(VERSION,)]


FULL = """
import resource, signal, sys
from karla_receiver.errors import StorageError
from karla_receiver.inbox import SQLiteInbox
from tests.inbox.stock import delivery
inbox = SQLiteInbox(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, unlimited[1]))
kept, refused = [], []
for number in range(120):
    key = f"{number}"
    try:
        assert inbox.put(delivery(key, body=bytes(2000))) == "new"
        kept.append(key)
    except StorageError as error:
        assert "the disk is full or failing" in str(error), error
        refused.append(key)
    if len(refused) == 20:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
inbox.close()
print(" ".join(kept))
"""


@pytest.mark.slow
def test_a_full_disk_is_refused_and_used_again_when_there_is_room(path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", FULL, str(path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent.parent.parent,
    )
    kept = run.stdout.split()
    assert len(kept) == 100
    assert kept[-1] == "119"
    assert set(kept) <= set(states(path))
    assert query(path, "PRAGMA integrity_check") == [("ok",)]


class FailingConnection:
    """Passes everything on to a connection, but fails at the n-th statement."""

    def __init__(self, connection: sqlite3.Connection, fail: Any) -> None:
        self._connection = connection
        self._fail = fail

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: str, *values: Any) -> Any:
        self._fail(sql)
        return self._connection.execute(sql, *values)


@pytest.mark.parametrize("kind", ["IOERR", "FULL", "BUSY", "CORRUPT"])
def test_whichever_statement_fails_nothing_is_acknowledged_that_is_not_kept(
    path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    calls = 0
    fail_at = 0

    def fail(sql: str) -> None:
        nonlocal calls
        calls += 1
        if calls == fail_at and sql != "ROLLBACK":
            error = sqlite3.OperationalError(f"made to fail: {sql}")
            error.sqlite_errorname = f"SQLITE_{kind}"
            raise error

    original = Session.__init__

    def failing(session: Session, where: Path) -> None:
        original(session, where)
        setattr(session, "connection", FailingConnection(session.connection, fail))  # noqa: B010

    monkeypatch.setattr(Session, "__init__", failing)
    monkeypatch.setattr("karla_receiver.sqlite.file.BUSY_SECONDS", 0)
    inbox = SQLiteInbox(path)
    failures = 0
    while True:
        fail_at += 1
        calls = 0
        try:
            assert inbox.put(delivery(f"{fail_at}")) == "new"
            assert f"{fail_at}" in states(path)
        except StorageError:
            failures += 1
            assert inbox.put(delivery(f"{fail_at} again")) == "new"
        if calls < fail_at:
            break
    inbox.close()
    assert failures >= 4  # BEGIN, two INSERTs, COMMIT
    assert query(path, "PRAGMA integrity_check") == [("ok",)]


def test_a_receiver_answers_503_and_says_why(
    path: Path, inbox: SQLiteInbox, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = Receiver(SECRET, inbox=inbox)
    body = b'{"event_group":"x"}'
    request = signed(body)
    remove(path)
    assert receiver.receive(request).status == 503
    assert "deleted or replaced" in caplog.text
    assert receiver.receive(request).status == 200


def test_many_waiters_are_all_refused_when_the_file_fails(inbox: SQLiteInbox, path: Path) -> None:
    remove(path)
    refused: list[str] = []
    kept: list[str] = []

    def put(number: int) -> None:
        try:
            inbox.put(delivery(str(number)))
            kept.append(str(number))
        except StorageError:
            refused.append(str(number))

    in_threads(16, put)
    assert refused
    assert set(kept) == set(states(path))


def test_a_file_without_a_write_ahead_log_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("karla_receiver.sqlite.file._SETTINGS", ())
    with pytest.raises(ConfigurationError, match="allows no write-ahead log, only 'delete'"):
        SQLiteInbox(path)


def test_another_file_of_the_same_make_is_noticed_too(path: Path) -> None:
    inbox, other = SQLiteInbox(path), SQLiteInbox(path.with_name("other.db"))
    inbox.put(delivery("first"))
    other.put(delivery("other"))
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path.with_name('other.db')}{suffix}").rename(f"{path}{suffix}")
    with pytest.raises(StorageError, match="deleted or replaced while in use"):
        inbox.put(delivery("second"))
    inbox.close()
    with pytest.raises(StorageError, match="deleted or replaced while in use"):
        other.put(delivery("second"))
    other.close()


def test_an_upgrade_that_fails_leaves_nothing_behind(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = (("CREATE TABLE karla_claims (identity)",), ("this is no SQL",))
    monkeypatch.setattr("karla_receiver.sqlite.schema._MIGRATIONS", steps)
    with pytest.raises(ConfigurationError, match="SQLite failed"):
        SQLiteInbox(path)
    assert query(path, "SELECT name FROM sqlite_master") == []
    monkeypatch.undo()
    SQLiteInbox(path).close()


def test_a_connection_that_cannot_undo_is_closed(path: Path) -> None:
    session = SQLiteFile(path).open()
    connection = session.connection
    session.begin()

    def fail(sql: str) -> None:
        raise sqlite3.OperationalError("made to fail")

    setattr(session, "connection", FailingConnection(connection, fail))  # noqa: B010
    session.undo()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")
