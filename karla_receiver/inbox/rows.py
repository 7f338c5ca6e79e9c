"""What the inbox's tables hold, and each statement that reads or writes them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from enum import StrEnum
from sqlite3 import Connection
from typing import Final

import msgspec

from karla_receiver.delivery import Delivery
from karla_receiver.inbox.protocol import Novelty
from karla_receiver.sqlite.schema import identity

__all__ = [
    "Put",
    "Settlement",
    "State",
    "Taken",
    "delete",
    "disown",
    "find_due",
    "find_first_due",
    "forgive",
    "proved_time",
    "purge",
    "take",
]


class State(StrEnum):
    """Where a kept delivery is."""

    WAITING = "waiting"  # for its first attempt, or its next
    RUNNING = "running"  # a worker has it
    DONE = "done"  # the handlers returned, or discarded it
    FAILED = "failed"  # the attempts are used up, or it does not fit its handler
    QUARANTINED = "quarantined"  # genuine, but no event


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery that a worker has taken; id and take prove that it is still the one."""

    id: int
    take: int
    attempts: int
    key: str
    received_at: float
    body: bytes

    def __repr__(self) -> str:
        # Not the body: it holds personal data.
        return f"<Taken {self.key[:16]!a}, attempt {self.attempts}, {len(self.body)} bytes>"


_COLUMNS: Final = (
    "identity, endpoint, state, due, attempts, takes, lane, changed_at, received_at, key,"
    " occurrence, ref, event_group, note"
)


class Put:
    """Keep one delivery, and tell whether it was known: a job for the writer."""

    __slots__ = ("_content", "_occurrence", "_row")

    # Not OR IGNORE: that would take a missing value for a delivery that was kept before.
    _ENTRY: Final = (
        f"INSERT INTO karla_inbox ({_COLUMNS}) VALUES ({'?,' * 13}?)"  # noqa: S608
        " ON CONFLICT (identity) DO NOTHING"
    )
    _CONTENT: Final = "INSERT INTO karla_content (id, headers, body) VALUES (?, ?, ?)"
    # By the index of beginnings. The plus keeps SQLite from putting the value in for the column
    # everywhere, and then missing the index.
    _NEAR: Final = (
        "SELECT 1 FROM karla_inbox WHERE occurrence <> '' AND endpoint = ?"
        " AND substr(occurrence, 1, 16) = substr(?, 1, 16) AND +occurrence = ? AND id <> ? LIMIT 1"
    )

    def __init__(self, delivery: Delivery, endpoint: str, lane: str | None, now: float) -> None:
        is_event = delivery.problem is None
        self._row = (
            identity(endpoint, delivery.key),
            endpoint,
            "waiting" if is_event else "quarantined",
            0.0,
            0,
            # At random: another file, or a row made after this one was deleted, has the same ids.
            random.getrandbits(48),
            lane,
            now,
            delivery.received_at,
            delivery.key,
            delivery.occurrence,
            delivery.ref,
            delivery.event_group,
            delivery.problem,
        )
        self._content = (msgspec.json.encode(delivery.headers), delivery.body)
        self._occurrence = (endpoint, delivery.occurrence, delivery.occurrence)

    def __call__(self, connection: Connection) -> Novelty:
        entry = connection.execute(self._ENTRY, self._row)
        if entry.rowcount == 0:
            return Novelty.DUPLICATE
        connection.execute(self._CONTENT, (entry.lastrowid, *self._content))
        near = connection.execute(self._NEAR, (*self._occurrence, entry.lastrowid)).fetchone()
        return Novelty.NEW if near is None else Novelty.NEAR_DUPLICATE


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a delivery that a worker took. Without effect if it is no longer its own.

    due: unix seconds, for one that waits. untaken: the attempt did not begin, and does not count.
    """

    id: int
    take: int
    state: State
    due: float = 0.0
    note: str | None = None
    untaken: bool = False

    def apply(self, connection: Connection, now: float) -> bool:
        """Return whether the delivery was still the worker's own."""
        # Not before its receipt: a clock that was set back must not shorten what is remembered.
        # For all others the time itself, since `forgive` compares it with the clock.
        entry = connection.execute(
            "UPDATE karla_inbox SET state = ?, due = ?, note = ?, attempts = attempts - ?,"
            " changed_at = CASE ? WHEN 'done' THEN max(?, received_at) ELSE ? END, worker = NULL"
            " WHERE id = ? AND takes = ? AND state = 'running'",
            (
                *(self.state, self.due, self.note, self.untaken),
                *(self.state, now, now),
                *(self.id, self.take),
            ),
        )
        return entry.rowcount == 1


# Of the deliveries of one lane only the oldest may run, and only while no other one does.
_LANE_IS_FREE: Final = (
    "NOT EXISTS (SELECT 1 FROM karla_inbox AS other WHERE other.endpoint = entry.endpoint"
    " AND other.lane = entry.lane AND other.state IN ('waiting', 'running')"
    " AND other.id <> entry.id AND (other.id < entry.id OR other.state = 'running'))"
)

# What waits for a later attempt comes first, or a flood of new ones would keep it waiting.
_IS_DUE: Final = (
    "endpoint = ? AND state = 'waiting' AND due <= ?"
    f" AND {_LANE_IS_FREE} ORDER BY due DESC, entry.id LIMIT ?"
)

_DUE: Final = (
    "SELECT entry.id, takes + 1, attempts + 1, key, received_at, body"  # noqa: S608
    " FROM karla_inbox AS entry JOIN karla_content AS content ON content.id = entry.id"
    f" WHERE {_IS_DUE}"
)

_FIRST_DUE: Final = f"SELECT id, takes FROM karla_inbox AS entry WHERE {_IS_DUE}"  # noqa: S608

_TAKE: Final = (
    "UPDATE karla_inbox AS entry SET state = 'running', worker = ?, takes = ?, attempts = ?,"  # noqa: S608
    " changed_at = ? WHERE id = ? AND state = 'waiting' AND takes = ?"
    f" AND {_LANE_IS_FREE}"
)


def find_due(connection: Connection, endpoint: str, now: float, limit: int) -> list[Taken]:
    """Return deliveries to take, as they will be when they are taken."""
    return [
        Taken(id=row[0], take=row[1], attempts=row[2], key=row[3], received_at=row[4], body=row[5])
        for row in connection.execute(_DUE, (endpoint, now, limit))
    ]


def find_first_due(connection: Connection, endpoint: str, now: float) -> tuple[int, int] | None:
    """Return what tells apart the delivery that is to be taken next; None if none is due."""
    found: tuple[int, int] | None = connection.execute(_FIRST_DUE, (endpoint, now, 1)).fetchone()
    return found


def take(connection: Connection, found: Iterable[Taken], worker: int, now: float) -> list[Taken]:
    """Take those that nobody else has taken meanwhile, for worker."""
    return [
        each
        for each in found
        if connection.execute(
            _TAKE, (worker, each.take, each.attempts, now, each.id, each.take - 1)
        ).rowcount
    ]


def disown(connection: Connection, worker: int, known: set[tuple[int, int]]) -> None:
    """Let wait what the file says worker has and it knows nothing of: a commit that failed late."""
    query = "SELECT id, takes FROM karla_inbox WHERE worker = ? AND state = 'running'"
    unknown = set(connection.execute(query, (worker,))) - known
    connection.executemany(
        "UPDATE karla_inbox SET state = 'waiting', due = 0, worker = NULL"
        " WHERE id = ? AND takes = ? AND state = 'running'",
        unknown,
    )


def forgive(connection: Connection, endpoint: str, now: float) -> None:
    """Let what waits by a clock that was set back since be due at once."""
    connection.execute(
        "UPDATE karla_inbox SET due = 0 WHERE endpoint = ? AND state = 'waiting' AND due > ?"
        " AND changed_at > ?",
        (endpoint, now, now),
    )


def proved_time(connection: Connection, monotonic: float) -> float:
    """Return the time of day that it must be by now, whatever the clock has leaped to.

    What was received was signed within minutes of its receipt, and what has gone by since then no
    clock can take back. So it is kept in the file, for the next worker. What went by between the
    last beat and a start of the machine may not be counted.
    """
    query = "SELECT received_at FROM karla_inbox ORDER BY id DESC LIMIT 1"
    times = [float(day) for (day,) in connection.execute(query)]
    for day, then in connection.execute("SELECT day, monotonic FROM karla_time"):
        times.append(day + max(0.0, monotonic - then))
    proved = max(times, default=0.0)
    connection.execute(
        "INSERT OR REPLACE INTO karla_time (id, day, monotonic) VALUES (1, ?, ?)",
        (proved, monotonic),
    )
    return proved


def purge(connection: Connection, endpoint: str, before: float, limit: int) -> int:
    """Delete what was done before that moment, at most so many; return how many."""
    ids = [
        row[0]
        for row in connection.execute(
            "SELECT id FROM karla_inbox WHERE endpoint = ? AND state = 'done' AND changed_at < ?"
            " LIMIT ?",
            (endpoint, before, limit),
        )
    ]
    delete(connection, ids)
    return len(ids)


def delete(connection: Connection, ids: Sequence[int]) -> None:
    """Delete deliveries, with their content."""
    rows = [(each,) for each in ids]
    connection.executemany("DELETE FROM karla_content WHERE id = ?", rows)
    connection.executemany("DELETE FROM karla_inbox WHERE id = ?", rows)
