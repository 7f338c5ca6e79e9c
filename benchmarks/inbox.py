"""What an inbox costs: rates, and ratios within one run to SQLite's one commit each.

Usage: python -m benchmarks.inbox [--directory DIR] [--rows 1000000] [--turns 15]

The floor writes the same rows with the same statements and settings, one commit each, in one
thread. Rates depend on the disk and on who else uses it: the phases take turns, on a full file and
on a new one of 1,000 rows, and a ratio is the median of the ratios of each turn. A turn leaves
5,000 rows in the file that it began with. Bodies have 2 KB.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import logging
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from sqlite3 import Connection

import msgspec

from benchmarks.tables import Row, Table, figure, formatted
from karla_receiver.delivery import Delivery
from karla_receiver.idempotency import SQLiteStore
from karla_receiver.inbox import SQLiteInbox, rows, workers
from karla_receiver.inbox.rows import Put, Settlement, State
from karla_receiver.sqlite.file import Session, SQLiteFile
from karla_receiver.sqlite.writer import Writer

CONCURRENT = 64
FEW = 1000
BLOCK = 5
FLOOR, ALONE = "one commit each (floor)", "alone"
THREADS, TASKS = "64 threads", "64 tasks"
CLAIMS, STORE = "claim and finish", "SQLiteStore: claim and done, alone"
# Times the rate of one commit each; a claim and its end are two commits.
GOALS = {ALONE: 0.8, THREADS: 2.0, TASKS: 3.0, STORE: None}
FLAT = 0.9  # what is left of the rate when the file is full
BODY = os.urandom(2048)
HEADERS = (("karla-signature", "t=1700000000,v1=" + "0" * 64),)


def deliveries() -> Iterator[Delivery]:
    """Make deliveries that all differ, as real keys do: in every digit."""
    for number in range(1 << 40):
        key = hashlib.sha256(b"%d" % number).hexdigest()
        yield Delivery(
            key=key,
            occurrence=key,
            body=BODY,
            headers=HEADERS,
            received_at=1.7e9,
            ref="shipments/delivered/SUCCESSFULLY_DELIVERED",
            event_group="shipment_delivered",
        )


SUPPLY = deliveries()


def some(count: int) -> list[Delivery]:
    """Take deliveries from the supply, before the clock runs."""
    return [next(SUPPLY) for _ in range(count)]


def rate(count: int, work: Callable[[], object]) -> float:
    """Return how many a second."""
    begun = time.perf_counter()
    work()
    return count / (time.perf_counter() - begun)


def one_by_one(session: Session, inbox: SQLiteInbox, count: int) -> dict[str, float]:
    """The floor, and one thread alone: in turns, since the disk is not the same for long."""
    seconds = {FLOOR: 0.0, ALONE: 0.0}
    connection = session.connection

    def commit(each: Delivery) -> None:
        connection.execute("BEGIN IMMEDIATE")
        Put(each, "default", None, 1.7e9)(connection)
        connection.execute("COMMIT")

    for number in range(count // BLOCK):
        ways = [(FLOOR, commit), (ALONE, inbox.put)]
        for name, put in ways if number % 2 else reversed(ways):
            batch = some(BLOCK)
            begun = time.perf_counter()
            for each in batch:
                put(each)
            seconds[name] += time.perf_counter() - begun
    return {name: count / spent for name, spent in seconds.items()}


def from_threads(inbox: SQLiteInbox, count: int) -> float:
    """64 threads."""
    batch = some(count)
    parts = [batch[number::CONCURRENT] for number in range(CONCURRENT)]
    threads = [
        threading.Thread(target=lambda part=part: [inbox.put(each) for each in part])
        for part in parts
    ]

    def work() -> None:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return rate(count, work)


def from_tasks(inbox: SQLiteInbox, count: int) -> float:
    """64 asyncio tasks."""
    left = iter(some(count))

    async def put_all() -> None:
        for each in left:
            await inbox.put_async(each)

    async def gather() -> None:
        await asyncio.gather(*[put_all() for _ in range(CONCURRENT)])

    return rate(count, lambda: asyncio.run(gather()))


def claim_and_finish(file: SQLiteFile, writer: Writer, count: int) -> float:
    """As the bookkeeper does: in one transaction, note what is settled and take what is next."""
    session = file.open()
    worker = writer.run(lambda c: workers.enlist(c, "default", time.monotonic(), 60))

    def work() -> None:
        handled = 0
        settled: list[Settlement] = []
        while handled < count:
            found = rows.find_due(session.connection, "default", 2e9, CONCURRENT)

            def turn(connection: Connection) -> list[rows.Taken]:
                for each in settled:  # noqa: B023 - run at once
                    each.apply(connection, 1.8e9)
                return rows.take(connection, found, worker, 1.8e9)  # noqa: B023 - likewise

            taken = writer.run(turn)
            handled += len(taken)
            settled = [Settlement(id=each.id, take=each.take, state=State.DONE) for each in taken]

    result = rate(count, work)
    session.close()
    return result


def store_claims(store: SQLiteStore, count: int) -> float:
    """Claim and done, one after another."""
    keys = [each.key for each in some(count)]

    def work() -> None:
        for key in keys:
            store.done(key, store.claim(key, key).token)

    return rate(count, work)


def fill(session: Session, total: int) -> None:
    """Bring the file to that many rows."""
    while True:
        (there,) = session.connection.execute("SELECT max(id) FROM karla_inbox").fetchone()
        if (missing := total - (there or 0)) <= 0:
            break
        batch = some(min(missing, 20_000))
        session.connection.execute("BEGIN IMMEDIATE")
        for each in batch:
            Put(each, "default", None, 1.7e9)(session.connection)
        session.connection.execute("COMMIT")
    # None of these is to be handled: what is measured is the cost of a file that is full.
    session.connection.execute("UPDATE karla_inbox SET state = 'done' WHERE state = 'waiting'")


class Subject:
    """One file, and what is measured with it."""

    def __init__(self, path: Path, total: int) -> None:
        """Fill a new file."""
        file = SQLiteFile(path)
        session, writer = file.open(), Writer(file)
        inbox, store = SQLiteInbox(path), SQLiteStore(path)
        fill(session, total)
        # What the filling left to be written is not to be written while it is measured.
        session.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
        os.sync()
        self.phases: list[Callable[[], dict[str, float]]] = [
            lambda: one_by_one(session, inbox, 100),
            lambda: {THREADS: from_threads(inbox, 1600)},
            lambda: {TASKS: from_tasks(inbox, 3200)},
            lambda: {CLAIMS: claim_and_finish(file, writer, 3200)},
            lambda: {STORE: store_claims(store, 50)},
        ]
        self._open = (inbox, store, writer, session)

    def close(self) -> None:
        """Close the file."""
        for each in self._open:
            each.close()


Figures = dict[str, list[float]]


def turn(many: Subject, directory: Path, figures: dict[str, Figures], *, swap: bool) -> None:
    """Measure each phase once with the full file, and once with a new one."""
    with tempfile.TemporaryDirectory(dir=directory) as place:
        few = Subject(Path(place) / "karla.db", FEW)
        for phases in zip(few.phases, many.phases, strict=True):
            pair = list(zip(("few", "many"), phases, strict=True))
            for kind, phase in reversed(pair) if swap else pair:
                for name, figure in phase().items():
                    figures[kind].setdefault(name, []).append(figure)
        few.close()


def ratio(above: list[float], below: list[float]) -> float:
    """Return the median of the ratios of each turn."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def measured(directory: Path | None, full: int, turns: int) -> dict[str, Figures]:
    """Return the rates of each turn, by the file, "few" rows or "many", and by the phase."""
    logging.disable()  # that nobody is at work in this inbox is no news here
    figures: dict[str, Figures] = {"few": {}, "many": {}}
    try:
        with tempfile.TemporaryDirectory(dir=directory) as place:
            many = Subject(Path(place) / "karla.db", full)
            for number in range(turns):
                turn(many, Path(place), figures, swap=number % 2 == 1)
            many.close()
    finally:
        logging.disable(logging.NOTSET)
    return figures


def table(figures: dict[str, Figures], full: int) -> Table:
    """Compare with one commit each, with putting, and the full file with the new one."""
    rows: list[Row] = []

    def add(goal: float | None, name: str, above: list[float], below: list[float]) -> None:
        cost, base = (1e6 / statistics.median(each) for each in (above, below))
        made = figure(goal, name, ratio(above, below), is_speed=True)
        rows.append(msgspec.structs.replace(made, cost=cost, base=base))

    few, many = figures["few"], figures["many"]
    for name, goal in GOALS.items():
        add(goal, f"{name}, {FEW:,} rows", few[name], few[FLOOR])
    add(1, f"{CLAIMS}, beside 64 tasks that put, {FEW:,} rows", few[CLAIMS], few[TASKS])
    for name in (*GOALS, CLAIMS):
        add(FLAT, f"{name}, a full file beside {FEW:,} rows", many[name], few[name])
    title = f"`SQLiteInbox`, 2 KB, beside one commit each; a full file has {full:,} rows"
    return Table("inbox", title, tuple(rows))


def keeping(rounds: int) -> Table:
    """Measure what it costs to keep a delivery: how many rows and turns is up to rounds."""
    full, turns = (1_000_000, 15) if rounds >= 1000 else (20_000, 3)
    return table(measured(None, full, turns), full)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--directory", type=Path, default=None, help="on the disk to measure")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the full file")
    parser.add_argument("--turns", type=int, default=15)
    options = parser.parse_args()
    print(formatted(table(measured(options.directory, options.rows, options.turns), options.rows)))


if __name__ == "__main__":
    main()
