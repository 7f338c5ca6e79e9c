"""What an operator does with an inbox: look, have again, delete. Needs no receiver, no worker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from sqlite3 import Connection
from typing import Any, Final, TypeVar

import msgspec

from karla_receiver.decoding import parse_event
from karla_receiver.delivery import Delivery
from karla_receiver.errors import PayloadError
from karla_receiver.events import decodable
from karla_receiver.idempotency.keys import delivery_key, occurrence_key
from karla_receiver.inbox import rows, workers
from karla_receiver.inbox.reading import read, require_inbox
from karla_receiver.inbox.rows import State
from karla_receiver.sqlite.file import SQLiteFile, checked_path
from karla_receiver.sqlite.writer import Writer

__all__ = ["Kept", "Operations", "Selection", "Stats"]

_T = TypeVar("_T")

_BATCH: Final = 500
_KEPT: Final = (
    "id, endpoint, key, state, due, attempts, changed_at, received_at, ref, event_group, note"
)

_AT_REST: Final = "state <> 'running'"


@decodable
class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What the inbox knows of a delivery, without its content.

    due: unix seconds, of one that waits; 0: at once. changed_at, received_at: unix seconds.
    attempts: begun so far. note: why it failed, waits, was discarded or is in quarantine.
    """

    id: int
    endpoint: str
    key: str
    state: State
    due: float
    attempts: int
    changed_at: float
    received_at: float
    ref: str | None
    event_group: str | None
    note: str | None


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which deliveries: all conditions that are given must hold.

    keys: beginnings of keys. since, until: unix seconds, of the receipt.
    """

    states: tuple[State, ...] = ()
    group: str | None = None
    endpoint: str | None = None
    keys: tuple[str, ...] = ()
    since: float | None = None
    until: float | None = None

    def condition(self) -> tuple[str, list[Any]]:
        """Return the same in SQL, with its values."""
        parts, values = ["1"], list[Any]()
        for column, wanted in (("event_group", self.group), ("endpoint", self.endpoint)):
            if wanted is not None:
                parts.append(f"{column} = ?")
                values.append(wanted)
        for comparison, moment in (
            ("received_at >= ?", self.since),
            ("received_at <= ?", self.until),
        ):
            if moment is not None:
                parts.append(comparison)
                values.append(moment)
        if self.states:
            parts.append(f"state IN ({','.join('?' * len(self.states))})")
            values.extend(self.states)
        if self.keys:
            parts.append(f"({' OR '.join(['substr(key, 1, ?) = ?'] * len(self.keys))})")
            values.extend(each for key in self.keys for each in (len(key), key))
        return " AND ".join(parts), values


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """The inbox in numbers.

    states, groups: how many deliveries of each. oldest_waiting: unix seconds of its receipt.
    near_duplicates: deliveries that tell of an occurrence which another one told of, in other
    bytes. workers: how many are alive. bytes: of the file.
    """

    states: dict[str, int]
    groups: dict[str, int]
    oldest_waiting: float | None
    near_duplicates: int
    workers: int
    bytes: int


class Operations:
    """The inbox in the file at path, which must hold one. Raises ConfigurationError otherwise.

    Nothing is written until something is to be changed, so that a look never leaves a trace in a
    database that is another application's. Every method raises StorageError if the file cannot be
    used.
    """

    def __init__(self, path: object) -> None:
        self._path: Path = checked_path(path)
        require_inbox(self._path)
        self._writer: Writer | None = None

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()

    def _read(self, query: Callable[[Connection], _T]) -> _T:
        return read(self._path, query)

    def count(self, selection: Selection, *, at_rest: bool = False) -> int:
        """Return how many deliveries are selected. at_rest: but for what runs."""
        return self._read(lambda connection: _count(connection, selection, at_rest=at_rest))

    def find(self, selection: Selection, *, limit: int = -1) -> list[Kept]:
        """Return those selected, the newest first. limit: how many at most; -1: all."""
        return self._read(lambda connection: _find(connection, selection, limit))

    def page(self, selection: Selection, limit: int) -> tuple[list[Kept], int]:
        """Return what `find` and `count` do, as of one moment."""

        def query(connection: Connection) -> tuple[list[Kept], int]:
            connection.execute("BEGIN").close()
            return _find(connection, selection, limit), _count(connection, selection, at_rest=False)

        return self._read(query)

    def delivery(self, kept: Kept) -> Delivery | None:
        """Return a delivery with its content; None if it was deleted meanwhile."""
        sql = (
            "SELECT occurrence, headers, body FROM karla_inbox JOIN karla_content USING (id)"
            " WHERE id = ?"
        )
        found = self._read(lambda connection: connection.execute(sql, (kept.id,)).fetchone())
        if found is None:
            return None
        occurrence, headers, body = found
        return Delivery(
            key=kept.key,
            occurrence=occurrence,
            body=body,
            headers=msgspec.json.decode(headers, type=tuple[tuple[str, str], ...]),
            received_at=kept.received_at,
            ref=kept.ref,
            event_group=kept.event_group,
            problem=kept.note if kept.state == State.QUARANTINED else None,
        )

    def have_again(self, selection: Selection) -> Iterator[int]:
        """Have those selected handled anew, but for what runs; yield how many, batch by batch.

        One from quarantine has no lane: what makes lanes is the receiver's.
        """

        def again(connection: Connection, ids: list[int]) -> None:
            _describe(connection, ids)
            connection.executemany(
                "UPDATE karla_inbox SET state = 'waiting', due = 0, attempts = 0, note = NULL,"
                " changed_at = ? WHERE id = ?",
                [(now, each) for each in ids],
            )

        now = time.time()
        return self._in_batches(selection, again)

    def delete(self, selection: Selection) -> Iterator[int]:
        """Delete those selected, but for what runs; yield how many, batch by batch."""
        return self._in_batches(selection, rows.delete)

    def _in_batches(
        self, selection: Selection, change: Callable[[Connection, list[int]], None]
    ) -> Iterator[int]:
        # In small transactions, each by itself: the receiver goes on writing between them.
        condition, values = selection.condition()
        last = self._read(lambda c: c.execute("SELECT max(id) FROM karla_inbox").fetchone())[0] or 0
        sql = (
            f"SELECT id FROM karla_inbox WHERE {condition} AND {_AT_REST}"  # noqa: S608
            " AND id > ? AND id <= ? ORDER BY id LIMIT ?"
        )
        done = 0

        def work(connection: Connection) -> list[int]:
            ids = [row[0] for row in connection.execute(sql, (*values, done, last, _BATCH))]
            change(connection, ids)
            return ids

        if self._writer is None:
            self._writer = Writer(SQLiteFile(self._path))
        while ids := self._writer.run(work):
            done = ids[-1]
            yield len(ids)

    def stats(self) -> Stats:
        """Return the inbox in numbers."""
        return self._read(self._stats)

    def _stats(self, connection: Connection) -> Stats:
        (oldest,) = connection.execute(
            "SELECT min(received_at) FROM karla_inbox WHERE state = 'waiting'"
        ).fetchone()
        (near,) = connection.execute(
            "SELECT coalesce(sum(copies - 1), 0) FROM (SELECT count(*) AS copies FROM karla_inbox"
            " WHERE occurrence <> '' GROUP BY endpoint, occurrence)"
        ).fetchone()
        return Stats(
            states=dict.fromkeys(State, 0) | _counts(connection, "state"),
            groups=_counts(connection, "coalesce(event_group, '')"),
            oldest_waiting=oldest,
            near_duplicates=near,
            workers=workers.alive(connection, None, time.monotonic()),
            bytes=self._path.stat().st_size,
        )


def _count(connection: Connection, selection: Selection, *, at_rest: bool) -> int:
    condition, values = selection.condition()
    sql = f"SELECT count(*) FROM karla_inbox WHERE {condition}"  # noqa: S608 - see Selection
    (number,) = connection.execute(f"{sql} AND {_AT_REST}" if at_rest else sql, values).fetchone()
    return int(number)


def _find(connection: Connection, selection: Selection, limit: int) -> list[Kept]:
    condition, values = selection.condition()
    sql = (
        f"SELECT {_KEPT} FROM karla_inbox WHERE {condition}"  # noqa: S608 - see Selection
        " ORDER BY id DESC LIMIT ?"
    )
    found = connection.execute(sql, (*values, limit)).fetchall()
    names = Kept.__struct_fields__
    return [msgspec.convert(dict(zip(names, row, strict=True)), Kept) for row in found]


def _describe(connection: Connection, ids: list[int]) -> None:
    """Note of those in quarantine what they tell, as of all others, if they can be read by now."""
    query = (
        "SELECT body FROM karla_content JOIN karla_inbox USING (id)"
        " WHERE id = ? AND state = 'quarantined'"
    )
    for each in ids:
        for (body,) in connection.execute(query, (each,)).fetchall():
            with suppress(PayloadError):
                event = parse_event(body)
                occurrence = delivery_key(b"", event, occurrence_key)
                connection.execute(
                    "UPDATE karla_inbox SET ref = ?, event_group = ?, occurrence = ? WHERE id = ?",
                    (event.ref, event.event_group, occurrence, each),
                )


def _counts(connection: Connection, column: str) -> dict[str, int]:
    sql = f"SELECT {column}, count(*) FROM karla_inbox GROUP BY 1 ORDER BY 2 DESC"  # noqa: S608
    return dict(connection.execute(sql).fetchall())
