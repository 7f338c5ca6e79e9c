"""What an inbox costs: rates, and ratios within one run to SQLite's one commit each.

Usage: python -m benchmarks.inbox [--directory DIR] [--rows 1000000]

The floor writes the same rows with the same statements and settings, one commit each, in one
thread. Rates depend on the disk and on who else uses it; the phases take turns, and each figure is
the median of its rounds. Bodies have 2 KB.
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

from karla_receiver.delivery import Delivery
from karla_receiver.group_commit import GroupCommit
from karla_receiver.idempotency import SQLiteStore
from karla_receiver.inbox import SQLiteInbox, rows, workers
from karla_receiver.inbox.rows import Put, Settlement, State
from karla_receiver.sqlite_file import Session, SQLiteFile

CONCURRENT = 64
ROUNDS = 7
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


def one_commit_each(session: Session, count: int) -> float:
    """The floor."""
    batch = some(count)

    def work() -> None:
        for each in batch:
            session.connection.execute("BEGIN IMMEDIATE")
            Put(each, "default", None, 1.7e9)(session.connection)
            session.connection.execute("COMMIT")

    return rate(count, work)


def alone(inbox: SQLiteInbox, count: int) -> float:
    """One thread, one after another."""
    batch = some(count)
    return rate(count, lambda: [inbox.put(each) for each in batch])


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


def claim_and_finish(file: SQLiteFile, writer: GroupCommit, count: int) -> float:
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


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--directory", type=Path, default=None, help="on the disk to measure")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the full file")
    options = parser.parse_args()
    logging.disable()  # that nobody is at work in this inbox is no news here
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        path = Path(directory) / "karla.db"
        file = SQLiteFile(path)
        session, writer = file.open(), GroupCommit(file)
        inbox, store = SQLiteInbox(path), SQLiteStore(path)
        phases: dict[str, Callable[[], float]] = {
            "one commit each (floor)": lambda: one_commit_each(session, 300),
            "alone": lambda: alone(inbox, 300),
            "64 threads": lambda: from_threads(inbox, 3200),
            "64 tasks": lambda: from_tasks(inbox, 6400),
            "claim and finish": lambda: claim_and_finish(file, writer, 6400),
            "store: claim and done, alone": lambda: store_claims(store, 150),
        }
        print(f"{'deliveries a second':32}{'rate':>9}{'ratio to the floor':>20}  at rows")
        medians: dict[int, dict[str, float]] = {}
        for total in (1000, options.rows):
            fill(session, total)
            figures: dict[str, list[float]] = {name: [] for name in phases}
            for _ in range(ROUNDS):
                for name, phase in phases.items():
                    figures[name].append(phase())
            medians[total] = {name: statistics.median(found) for name, found in figures.items()}
            for name, found in figures.items():
                floors = figures["one commit each (floor)"]
                ratio = statistics.median(a / b for a, b in zip(found, floors, strict=True))
                print(f"{name:32}{medians[total][name]:9,.0f}{ratio:20.2f}  {total:,}")
        few, many = medians[1000], medians[options.rows]
        for name in phases:
            print(f"{name:32}{many[name] / few[name]:9.2f} of its rate at 1,000 rows")
        finishing = many["claim and finish"] / many["64 tasks"]
        print(f"{'claim and finish, to 64 tasks':32}{finishing:9.2f}")
        inbox.close()
        store.close()
        writer.close()
        session.close()


if __name__ == "__main__":
    main()
