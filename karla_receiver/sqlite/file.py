"""One SQLite file on a local disk: opening it, writing to it durably, and noticing its loss.

A commit returns when the operating system has been told to flush (WAL, synchronous FULL). After
each one the path is compared with what was opened: SQLite goes on writing to a file that was
deleted, and says that all is well.
"""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias, TypeVar, cast

from karla_receiver.errors import ConfigurationError, StorageError
from karla_receiver.sqlite.forking import has_inherited, note_closed, note_open
from karla_receiver.sqlite.place import (
    close_to_others,
    make_private,
    refuse_lone_mount,
    refuse_unwritable,
)
from karla_receiver.sqlite.schema import SchemaTooNewError, upgrade

__all__ = ["BUSY_SECONDS", "SQLiteFile", "Session", "checked_path", "explained", "is_locked"]

_T = TypeVar("_T")
_Identity: TypeAlias = tuple[int, int, int, int]

# How long a writer waits for another one, before the delivery is refused with 503.
BUSY_SECONDS: Final = 1.0

_SETTINGS: Final = (
    "PRAGMA page_size = 4096",  # only of a new file
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = ON",  # macOS: to the disk, not to its cache
    "PRAGMA wal_autocheckpoint = 10000",  # 40 MB: fewer pauses than the default's 4 MB
    "PRAGMA cache_size = -65536",  # 64 MiB
    "PRAGMA foreign_keys = ON",
)

_RIGHTS: Final = "its directory must be there, and this user must be able to write to both"
_MEANING: Final = {
    "SQLITE_BUSY": f"another process has had it locked for {BUSY_SECONDS:g} s",
    "SQLITE_FULL": "the disk is full",
    "SQLITE_IOERR": "it cannot be read or written: the disk is full or failing",
    "SQLITE_CORRUPT": "it is corrupt: put a good copy in its place, or move it away",
    "SQLITE_NOTADB": "it is not a SQLite database: put a good copy in its place, or move it away",
    "SQLITE_CANTOPEN": f"it cannot be opened: {_RIGHTS}",
    "SQLITE_READONLY": f"it cannot be written to: {_RIGHTS}",
}


def checked_path(path: object) -> Path:
    """Return path, absolute, so that a change of directory does not move it.

    Raises ConfigurationError if it is none, or in no directory.
    """
    name: object = path
    if isinstance(path, os.PathLike):
        name = os.fspath(cast("os.PathLike[str]", path))
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"expected the path of a file, as in 'karla.db', not {path!a}")
    if name.startswith((":memory:", "file:")) or "\0" in name:
        raise ConfigurationError(f"expected the path of a file on a local disk, not {name!a}")
    absolute = Path(name).absolute()
    if not absolute.parent.is_dir():
        raise ConfigurationError(f"{absolute}: there is no directory {absolute.parent}")
    return absolute


class Session:
    """One open connection. Used by one thread at a time; a failed one is closed and replaced."""

    def __init__(self, path: Path) -> None:
        """Open the file, make or upgrade its tables. Raises sqlite3.Error, SchemaTooNewError."""
        self._path = path
        # SQLite follows links, and keeps its log beside the file that they lead to. The path itself
        # is looked at as well, by which a link that leads elsewhere meanwhile is noticed.
        real = os.path.realpath(path)
        self._names = (str(path), f"{real}-wal")
        note_open(self)
        try:
            make_private(real)
            self.connection: sqlite3.Connection = sqlite3.connect(
                real, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
        except BaseException:
            note_closed(self)
            raise
        try:
            for setting in _SETTINGS:
                self.connection.execute(setting).close()
            _require_wal(self.connection)
            upgrade(self.connection)
            # A read opens the log beside it, which stays as long as a connection does.
            self.connection.execute("SELECT version FROM karla_schema").fetchone()
            close_to_others(real)  # not before it is known to be a database
            self._identity = self._look()
            # From now on waiting is done in `begin`.
            self.connection.execute("PRAGMA busy_timeout = 0").close()
        except BaseException:
            self.close()
            raise

    def begin(self) -> None:
        """Begin to write. Raises sqlite3.OperationalError if another one does for too long.

        SQLite's own waiting backs off to a tenth of a second, and then misses its turn.
        """
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                self.connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if code(error) != "SQLITE_BUSY" or time.monotonic() > deadline:
                    raise
                time.sleep(random.uniform(0.0005, 0.002))  # noqa: S311 - no secret
            else:
                return

    def commit(self) -> None:
        """Commit, to the disk, of the file that is at the path. Raises sqlite3.Error, OSError."""
        self.connection.execute("COMMIT")
        self.check()

    def check(self) -> None:
        """Raise FileNotFoundError unless the files that are open are those at the path."""
        if self._look() != self._identity:
            raise FileNotFoundError(f"{self._path} was replaced")

    def undo(self) -> None:
        """Undo what was begun and not committed, if anything was."""
        try:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
        except sqlite3.Error:
            self.close()  # which undoes it as well

    def close(self) -> None:
        """Close the connection, whatever state it is in."""
        with suppress(sqlite3.Error):  # nothing is left to do about it
            self.connection.close()
        note_closed(self)

    def _look(self) -> _Identity:
        # Never by opening the file: closing it again would drop SQLite's locks on it (POSIX).
        file, log = os.stat(self._names[0]), os.stat(self._names[1])  # noqa: PTH116 - 3 µs
        return file.st_ino, log.st_ino, file.st_dev, log.st_dev


class SQLiteFile:
    """The file at a path: a session for whoever asks, and errors that say what is wrong with it.

    Raises ConfigurationError if it cannot serve now: no directory, no database, a newer schema,
    not to be written to, a single file mounted into a container.
    """

    def __init__(self, path: object) -> None:
        self.path: Path = checked_path(path)
        try:
            real = os.path.realpath(self.path)
            refuse_lone_mount(real)
            refuse_unwritable(real)
            self._opened().close()
        except (sqlite3.Error, OSError, SchemaTooNewError) as error:
            raise ConfigurationError(f"{self.path}: {explained(error)}") from error

    def _opened(self) -> Session:
        if has_inherited():
            raise OSError(
                "this process was forked off while a SQLite file was in use: fork before its first"
                " use, or when nothing is at it; uWSGI needs `py-call-uwsgi-fork-hooks = true`, or"
                " `lazy-apps = true`"
            )
        return Session(self.path)

    def open(self) -> Session:
        """Return a new session. Raises StorageError."""
        try:
            return self._opened()
        except (sqlite3.Error, OSError, SchemaTooNewError) as error:
            raise self.failure(error) from error

    def transact(self, session: Session, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Do work in one transaction; when it returns, that is on the disk.

        Raises StorageError, and then the session is to be closed; and what work raises.
        """
        try:
            session.begin()
            result = work(session.connection)
            session.commit()
        except (sqlite3.Error, OSError) as error:
            raise self.failure(error) from error
        else:
            return result
        finally:
            session.undo()

    def begin(self, session: Session) -> None:
        """Begin a transaction. Raises StorageError."""
        try:
            session.begin()
        except sqlite3.Error as error:
            raise self.failure(error) from error

    def commit(self, session: Session) -> None:
        """Commit to the disk. Raises StorageError, and then the session is to be closed."""
        try:
            session.commit()
        except (sqlite3.Error, OSError) as error:
            raise self.failure(error) from error

    def read(self, session: Session, query: Callable[[sqlite3.Connection], _T]) -> _T:
        """Return what query does. Raises StorageError, and then the session is to be closed."""
        try:
            session.check()
            return query(session.connection)
        except (sqlite3.Error, OSError) as error:
            raise self.failure(error) from error

    def failure(self, error: Exception) -> StorageError:
        """Return the StorageError that says what error means for this file."""
        return StorageError(f"{self.path}: {explained(error)}")


def _require_wal(connection: sqlite3.Connection) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    if mode != "wal":
        raise OSError(f"its file system allows no write-ahead log, only {mode!a}")


def code(error: sqlite3.Error) -> str:
    """Return the name of SQLite's primary error code; empty if it was none of SQLite's."""
    name = getattr(error, "sqlite_errorname", None) or ""
    return "_".join(name.split("_")[:2])


def is_locked(error: BaseException) -> bool:
    """Return whether a StorageError says that another process has the file locked."""
    cause = error.__cause__
    return isinstance(cause, sqlite3.Error) and code(cause) == "SQLITE_BUSY"


def explained(error: Exception) -> str:
    """Say what an error means, and what to do about it."""
    if isinstance(error, FileNotFoundError):
        return (
            "it was deleted or replaced while in use, and what it held is gone with it; the next"
            " delivery is kept in what is there by then, or in a new file"
        )
    if isinstance(error, sqlite3.Error):
        return f"{_MEANING.get(code(error), 'SQLite failed')} ({error})"
    return str(error)
