"""Reading a file that may hold an inbox, without ever writing to it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from karla_receiver.errors import ConfigurationError, StorageError
from karla_receiver.sqlite.file import BUSY_SECONDS, explained
from karla_receiver.sqlite.forking import note_closed, note_open, pause_for_fork, renew_after_fork
from karla_receiver.sqlite.schema import SchemaTooNewError, version_of

__all__ = ["read", "require_inbox"]

_T = TypeVar("_T")

_EXPECTED = "give the path that the app gives to SQLiteInbox"


def read(path: Path, query: Callable[[sqlite3.Connection], _T]) -> _T:
    """Return what query does with a connection that cannot write. Raises StorageError."""
    try:
        return _read(path, query)
    except sqlite3.Error as error:
        raise StorageError(f"{path}: {explained(error)}") from error


def require_inbox(path: Path) -> None:
    """Raise ConfigurationError, and change nothing, unless the file at path holds an inbox."""
    if not path.exists():
        raise ConfigurationError(f"{path}: there is no such file")
    if not path.is_file():
        raise ConfigurationError(f"{path} is no file: {_EXPECTED}")
    try:
        problem = _read(path, _problem)
    except (sqlite3.Error, SchemaTooNewError) as error:
        raise ConfigurationError(f"{path}: {explained(error)}") from error
    if problem is not None:
        raise ConfigurationError(f"{path} {problem}: {_EXPECTED}")


class _Reading:
    """One read, which a fork waits for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Had by the thread that reads, a fork of its own waits for nothing: the child sees it open.
        self._lock = threading.RLock()
        pause_for_fork(self)
        renew_after_fork(self)

    def result(self, query: Callable[[sqlite3.Connection], _T]) -> _T:
        place = f"{self._path.as_uri()}?mode=ro"
        with self._lock:
            note_open(self)
            try:
                with closing(sqlite3.connect(place, uri=True, timeout=BUSY_SECONDS)) as connection:
                    return query(connection)
            finally:
                note_closed(self)

    def pause(self, seconds: float) -> Callable[[], object]:
        """Have nothing read until what is returned is called. Raises StorageError if it is."""
        if not self._lock.acquire(timeout=seconds):
            raise StorageError(f"{self._path} is being read")
        return self._lock.release

    def after_fork(self) -> None:
        """Forget who read in the parent process."""
        self._lock = threading.RLock()


def _read(path: Path, query: Callable[[sqlite3.Connection], _T]) -> _T:
    return _Reading(path).result(query)


def _problem(connection: sqlite3.Connection) -> str | None:
    """Say why it is no inbox; None if it is one."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if version_of(connection) == 0 or "karla_inbox" not in tables:
        return "is a SQLite database without an inbox"
    # A store's file has the inbox's tables too, but nothing was ever kept or handled in them:
    # SQLite knows of every worker that there was, in a table of its own.
    (is_store,) = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM karla_claims)"
        " AND NOT EXISTS (SELECT 1 FROM karla_inbox)"
        " AND NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'karla_workers')"
    ).fetchone()
    return (
        "is the file of a SQLiteStore, and no inbox has kept anything in it" if is_store else None
    )
