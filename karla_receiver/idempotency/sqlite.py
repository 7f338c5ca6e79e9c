"""An idempotency store in a SQLite file on a local disk, for all processes of one machine."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from sqlite3 import Connection
from typing import Final

from karla_receiver.checks import checked_clock, checked_endpoint, monotonic_clock, wall_clock
from karla_receiver.idempotency.limits import (
    DEFAULT_LEASE,
    DEFAULT_WINDOW,
    checked_key,
    checked_lease,
    checked_window,
)
from karla_receiver.idempotency.protocol import Claim, ClaimState, Key
from karla_receiver.sqlite.file import SQLiteFile
from karla_receiver.sqlite.schema import identity
from karla_receiver.sqlite.writer import Work, Writer

__all__ = ["SQLiteStore"]

# How many that are over a claim deletes: more than it adds, and few enough to cost next to nothing.
_PURGE_BATCH: Final = 20


class SQLiteStore:
    """Remembers in a file which deliveries were handled. An `IdempotencyStore`.

    path: of a file on a local disk (no NFS), made if it is not there. It may be the
    application's own database, and the one of a `SQLiteInbox`: all names begin with `karla_`.
    Only its owner may read it (mode 0600), and the files that SQLite makes beside it.
    endpoint: which webhook this is, if several share the file.
    key: what makes two deliveries the same one, from the event; None: the raw body does.
    window: seconds for which a handled delivery is remembered; 600 or more.
    lease: seconds after which a claim expires whose owner has not finished: longer than any
    handler takes. By the monotonic clock, which no jump of the time of day moves.
    clock: returns unix seconds; None: `time.time`. monotonic: None: `time.monotonic`. Both are
    looked up each time, so that a test may replace them.
    Raises ConfigurationError for an unusable option or file.

    Safe for threads, several processes, and fork.
    """

    def __init__(
        self,
        path: object,
        *,
        endpoint: str = "default",
        key: Key = None,
        window: float = DEFAULT_WINDOW,
        lease: float = DEFAULT_LEASE,
        clock: Callable[[], float] | None = None,
        monotonic: Callable[[], float] | None = None,
    ) -> None:
        self._window = checked_window(window)
        self._lease = checked_lease(lease, window)
        self._endpoint = checked_endpoint(endpoint)
        self._key = checked_key(key)
        self._clock = checked_clock(wall_clock if clock is None else clock)
        self._monotonic = checked_clock(
            monotonic_clock if monotonic is None else monotonic, name="monotonic", returns="seconds"
        )
        self._file = SQLiteFile(path)
        self._writer = Writer(self._file)

    def __repr__(self) -> str:
        return f"<SQLiteStore {str(self._file.path)!a} endpoint={self._endpoint!a}>"

    @property
    def key(self) -> Key:
        """What makes two deliveries the same one; None: the SHA-256 of the raw body."""
        return self._key

    @property
    def window(self) -> float:
        """Seconds for which a handled delivery is remembered."""
        return self._window

    @property
    def blocks(self) -> bool:
        """True: it waits for a disk."""
        return True

    def claim(self, key: str, occurrence: str) -> Claim:
        """Same as `IdempotencyStore.claim`. Raises StorageError."""
        return self._writer.run(self._claiming(key, occurrence))

    async def claim_async(self, key: str, occurrence: str) -> Claim:
        """Same as `claim`, without ever blocking the event loop."""
        return await self._writer.run_async(self._claiming(key, occurrence))

    def done(self, key: str, token: str) -> None:
        """Same as `IdempotencyStore.done`. Raises StorageError."""
        self._writer.run(self._remembering(key, token))

    async def done_async(self, key: str, token: str) -> None:
        """Same as `done`, without ever blocking the event loop."""
        await self._writer.run_async(self._remembering(key, token))

    def release(self, key: str, token: str) -> None:
        """Same as `IdempotencyStore.release`. Raises StorageError."""
        self._writer.run(self._forgetting(key, token))

    async def release_async(self, key: str, token: str) -> None:
        """Same as `release`, without ever blocking the event loop."""
        await self._writer.run_async(self._forgetting(key, token))

    def close(self) -> None:
        """Close the file; it is opened again when it is needed."""
        self._writer.close()

    def _claiming(self, key: str, occurrence: str) -> Work[Claim]:
        token = secrets.token_hex(16)
        name = identity(self._endpoint, key)
        what = identity(self._endpoint, f"occurrence {occurrence}")
        return lambda connection: self._claim(connection, name, what, token)

    def _remembering(self, key: str, token: str) -> Work[None]:
        name = identity(self._endpoint, key)

        def remember(connection: Connection) -> None:
            connection.execute(
                "UPDATE karla_claims SET token = NULL, at = ? WHERE identity = ? AND token = ?"
                " AND lease_from < lease_to",
                (self._now(connection), name, token),
            )

        return remember

    def _forgetting(self, key: str, token: str) -> Work[None]:
        row = (identity(self._endpoint, key), token)
        # The row stays: that the occurrence came is remembered, for near duplicates.
        forget = "UPDATE karla_claims SET lease_to = lease_from WHERE identity = ? AND token = ?"
        return lambda connection: connection.execute(forget, row).close()

    def _claim(self, connection: Connection, name: bytes, occurrence: bytes, token: str) -> Claim:
        now, monotonic = self._now(connection), self._monotonic()
        oldest = now - self._window
        found = connection.execute(
            "SELECT token IS NULL AND at > ?,"
            " token IS NOT NULL AND lease_from <= ? AND ? < lease_to"
            " FROM karla_claims WHERE identity = ?",
            (oldest, monotonic, monotonic, name),
        ).fetchone()
        if found == (1, 0):
            return Claim(ClaimState.DONE)
        if found == (0, 1):
            return Claim(ClaimState.IN_PROGRESS)
        near = connection.execute(
            "SELECT 1 FROM karla_claims WHERE occurrence = ? AND identity <> ? AND at > ? LIMIT 1",
            (occurrence, name, oldest),
        ).fetchone()
        connection.execute(
            "INSERT OR REPLACE INTO karla_claims"
            " (identity, occurrence, token, lease_from, lease_to, at) VALUES (?, ?, ?, ?, ?, ?)",
            (name, occurrence, token, monotonic, monotonic + self._lease, now),
        )
        # Not a claim that nobody took over: its owner may be late, and not dead.
        connection.execute(
            "DELETE FROM karla_claims WHERE identity IN (SELECT identity FROM karla_claims"
            " WHERE at <= ? AND (token IS NULL OR lease_from = lease_to) LIMIT ?)",
            (oldest, _PURGE_BATCH),
        )
        return Claim(ClaimState.CLAIMED, token, near is not None)

    def _now(self, connection: Connection) -> float:
        """Return the time of day, which for what is remembered never goes back.

        Or a clock that is set back, and forth again, would make the store forget. What lies
        ahead by more than the window is no time to go by.
        """
        now = self._clock()
        newest = "SELECT max(at) FROM karla_claims WHERE at <= ?"
        (last,) = connection.execute(newest, (now + self._window,)).fetchone()
        return now if last is None else max(now, last)
