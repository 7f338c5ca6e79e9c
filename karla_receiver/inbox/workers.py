"""Which workers are alive: one row for each, which it must renew within its lease.

Times are of the monotonic clock, which all processes of one machine share and nobody can set. A
beat from the future is of the time before the machine was started anew.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from typing import Final

from karla_receiver.inbox.rows import State

__all__ = ["alive", "beat", "bury_the_dead", "enlist", "leave"]

_IS_ALIVE: Final = "(beat <= :now AND :now < beat + lease)"


def enlist(connection: sqlite3.Connection, endpoint: str, now: float, lease: float) -> int:
    """Return the number of a new worker."""
    # At random: in a file that took the place of another, nobody may have a number from there.
    number = 1 + secrets.randbits(62)
    connection.execute(
        "INSERT INTO karla_workers (id, endpoint, beat, lease, pid) VALUES (?, ?, ?, ?, ?)",
        (number, endpoint, now, lease, os.getpid()),
    )
    return number


def beat(connection: sqlite3.Connection, worker: int, now: float) -> bool:
    """Renew a lease. False if the worker was taken for dead."""
    update = "UPDATE karla_workers SET beat = ? WHERE id = ?"
    return connection.execute(update, (now, worker)).rowcount == 1


def leave(connection: sqlite3.Connection, worker: int) -> None:
    """Take a worker off the list. What it still has is taken over at once."""
    connection.execute("UPDATE karla_workers SET lease = 0 WHERE id = ?", (worker,))


def bury_the_dead(
    connection: sqlite3.Connection, endpoint: str, *, monotonic: float, now: float, attempts: int
) -> dict[State, int]:
    """Take what workers had whose lease has ended; return how many deliveries wait, or are failed.

    now: unix seconds. attempts: whose delivery has had as many is failed: it may be what kills.
    """
    dead = connection.execute(
        f"SELECT id FROM karla_workers WHERE endpoint = :endpoint AND NOT {_IS_ALIVE}",  # noqa: S608
        {"endpoint": endpoint, "now": monotonic},
    ).fetchall()
    freed = {State.FAILED: 0, State.WAITING: 0}
    for worker in dead:
        for state, condition in ((State.FAILED, ">="), (State.WAITING, "<")):
            freed[state] += connection.execute(
                "UPDATE karla_inbox SET state = ?, due = 0, worker = NULL, changed_at = ?,"  # noqa: S608
                " note = 'its worker died' WHERE worker = ? AND state = 'running'"
                f" AND attempts {condition} ?",
                (state, now, *worker, attempts),
            ).rowcount
        connection.execute("DELETE FROM karla_workers WHERE id = ?", worker)
    return freed


def alive(connection: sqlite3.Connection, endpoint: str | None, now: float) -> int:
    """Return how many workers are alive. endpoint: whose; None: of all."""
    (number,) = connection.execute(
        f"SELECT count(*) FROM karla_workers WHERE {_IS_ALIVE}"  # noqa: S608
        " AND (:endpoint IS NULL OR endpoint = :endpoint)",
        {"endpoint": endpoint, "now": now},
    ).fetchone()
    return int(number)
