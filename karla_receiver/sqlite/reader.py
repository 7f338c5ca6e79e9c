"""A connection that only reads, beside the one that writes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from sqlite3 import Connection
from typing import TypeVar

from karla_receiver.errors import StorageError
from karla_receiver.sqlite.file import Session, SQLiteFile
from karla_receiver.sqlite.forking import pause_for_fork, renew_after_fork

__all__ = ["Reader"]

_T = TypeVar("_T")


class Reader:
    """Reads a file, for one thread; opens it when it is needed. Safe for fork."""

    def __init__(self, file: SQLiteFile) -> None:
        self._file = file
        self._session: Session | None = None
        self._lock = threading.Lock()  # between that thread and one that forks
        pause_for_fork(self)
        renew_after_fork(self)

    def read(self, query: Callable[[Connection], _T]) -> _T:
        """Return what query does. Raises StorageError."""
        with self._lock:
            try:
                if self._session is None:
                    self._session = self._file.open()
                return self._file.read(self._session, query)
            except StorageError:
                self._drop()
                raise

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        with self._lock:
            self._drop()

    def pause(self, seconds: float) -> Callable[[], object]:
        """Close the connection, and open none until what is returned is called.

        Raises StorageError if that takes longer than so many seconds.
        """
        if not self._lock.acquire(timeout=seconds):
            raise StorageError(f"{self._file.path} is being read")
        self._drop()
        return self._lock.release

    def after_fork(self) -> None:
        """Forget what belongs to the parent process."""
        self._session = None
        self._lock = threading.Lock()

    def _drop(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None
