"""Reading a file that may hold an inbox, without ever writing to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from karla_receiver.errors import ConfigurationError, StorageError
from karla_receiver.sqlite.file import BUSY_SECONDS, explained
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


def _read(path: Path, query: Callable[[sqlite3.Connection], _T]) -> _T:
    place = f"{path.as_uri()}?mode=ro"
    with closing(sqlite3.connect(place, uri=True, timeout=BUSY_SECONDS)) as connection:
        return query(connection)


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
