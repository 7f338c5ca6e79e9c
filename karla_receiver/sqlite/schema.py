"""The tables in a SQLite file, and how a file of an older version is brought up to this one.

All names begin with `karla_`, and the version is in a table of its own: the file may be the
application's, with tables and a `user_version` that are none of our business.
"""

from __future__ import annotations

import hashlib
import sqlite3
from typing import Final

__all__ = ["VERSION", "SchemaTooNewError", "identity", "upgrade", "version_of"]

# One entry a version; what is here is never changed, only added to: it describes files that exist.
_MIGRATIONS: Final = (
    # 1: what the idempotency store remembers. `lease_*` are of the monotonic clock, which all
    # processes of a machine share; `at` is unix seconds.
    (
        """CREATE TABLE karla_claims (
            identity BLOB PRIMARY KEY, occurrence BLOB NOT NULL, token TEXT,
            lease_from REAL, lease_to REAL, at REAL NOT NULL
        ) WITHOUT ROWID""",
        "CREATE INDEX karla_claims_at ON karla_claims (at)",
        "CREATE INDEX karla_claims_occurrence ON karla_claims (occurrence)",
    ),
    # 2: the inbox. Content lies apart, so that a change of state writes few bytes. `due` is unix
    # seconds, 0 for at once; `takes` begins at random and never goes down, and so tells two takers
    # of a row apart, and two rows with one id.
    (
        """CREATE TABLE karla_inbox (
            id INTEGER PRIMARY KEY, identity BLOB NOT NULL, endpoint TEXT NOT NULL,
            state TEXT NOT NULL, due REAL NOT NULL, attempts INTEGER NOT NULL,
            takes INTEGER NOT NULL, worker INTEGER, lane TEXT, changed_at REAL NOT NULL,
            received_at REAL NOT NULL, key TEXT NOT NULL, occurrence TEXT NOT NULL,
            ref TEXT, event_group TEXT, note TEXT
        )""",
        "CREATE TABLE karla_content (id INTEGER PRIMARY KEY, headers BLOB NOT NULL,"
        " body BLOB NOT NULL)",
        "CREATE UNIQUE INDEX karla_inbox_identity ON karla_inbox (identity)",
        "CREATE INDEX karla_inbox_due ON karla_inbox (endpoint, due DESC) WHERE state = 'waiting'",
        "CREATE INDEX karla_inbox_worker ON karla_inbox (worker) WHERE state = 'running'",
        "CREATE INDEX karla_inbox_lane ON karla_inbox (endpoint, lane)"
        " WHERE lane IS NOT NULL AND state IN ('waiting', 'running')",
        "CREATE INDEX karla_inbox_done ON karla_inbox (endpoint, changed_at) WHERE state = 'done'",
        """CREATE TABLE karla_workers (
            id INTEGER PRIMARY KEY AUTOINCREMENT, endpoint TEXT NOT NULL,
            beat REAL NOT NULL, lease REAL NOT NULL, pid INTEGER NOT NULL
        )""",
    ),
    # 3: whether an occurrence came before in other bytes. Occurrences are digests: 64 bits of one
    # find it, and an index of the whole would be three times as large.
    (
        "CREATE INDEX karla_inbox_occurrence ON karla_inbox (endpoint, substr(occurrence, 1, 16))"
        " WHERE occurrence <> ''",
    ),
    # 4: in one row, a time of day that is known to have come, and when by the monotonic clock.
    (
        "CREATE TABLE karla_time (id INTEGER PRIMARY KEY, day REAL NOT NULL,"
        " monotonic REAL NOT NULL)",
    ),
)

VERSION: Final = len(_MIGRATIONS)


class SchemaTooNewError(Exception):
    """The file was written by a newer version of this package."""


def upgrade(connection: sqlite3.Connection) -> None:
    """Bring the file to this version, in one transaction; several processes may do so at once.

    Raises SchemaTooNewError, sqlite3.Error.
    """
    if version_of(connection) == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = version_of(connection)
        if version == 0:
            connection.execute("CREATE TABLE karla_schema (version INTEGER NOT NULL)")
            connection.execute("INSERT INTO karla_schema VALUES (0)")
        for statement in (each for step in _MIGRATIONS[version:] for each in step):
            connection.execute(statement)
        connection.execute("UPDATE karla_schema SET version = ?", (VERSION,))
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise


def version_of(connection: sqlite3.Connection) -> int:
    """Return the file's version; 0 for one without our tables.

    Raises SchemaTooNewError, sqlite3.Error.
    """
    known = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'karla_schema'"
    if connection.execute(known).fetchone() is None:
        return 0
    (version,) = connection.execute("SELECT version FROM karla_schema").fetchone()
    if version > VERSION:
        raise SchemaTooNewError(
            f"it has schema version {version}, and this version of karla-receiver knows {VERSION}"
        )
    return int(version)


def identity(endpoint: str, key: str) -> bytes:
    """Return what is unique in the file: short, because its index is what grows."""
    return hashlib.blake2b(
        f"{endpoint}\0{key}".encode("utf-8", "surrogatepass"), digest_size=16
    ).digest()
