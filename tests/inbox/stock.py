"""Deliveries to keep, and looks into the file that do not go through the inbox."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from karla_receiver import Receiver
from karla_receiver.delivery import Delivery
from karla_receiver.inbox import SQLiteInbox
from tests.signing import SECRET
from tests.waiting import PATIENCE_SECONDS


def delivery(key: str = "one", **changes: Any) -> Delivery:
    fields: dict[str, Any] = {
        "key": key,
        "occurrence": f"occurrence of {key}",
        "body": b'{"event_group":"parcel","ref":"parcels/sent","n":"%s"}' % key.encode(),
        "headers": (("karla-signature", "t=1,v1=00"),),
        "received_at": 1_000.0,
        "ref": "parcels/sent",
        "event_group": "parcel",
    }
    return Delivery(**{**fields, **changes})


def query(path: Path, sql: str, *values: object) -> list[Any]:
    with closing(sqlite3.connect(path, timeout=PATIENCE_SECONDS)) as connection:
        return connection.execute(sql, values).fetchall()


def query_and_commit(path: Path, sql: str, *values: object) -> None:
    connection = sqlite3.connect(path, timeout=PATIENCE_SECONDS)
    with connection:
        connection.execute(sql, values)
    connection.close()


def states(path: Path) -> dict[str, str]:
    return dict(query(path, "SELECT key, state FROM karla_inbox"))


def hurried(inbox: SQLiteInbox, **changes: Any) -> SQLiteInbox:
    """Return inbox, whose worker waits for hundredths of a second. changes: in its options."""
    quick = {"poll": 0.01, "pause": 0.01, "longest_beat": 0.05}
    options = inbox._options  # pyright: ignore[reportPrivateUsage]
    inbox._options = msgspec.structs.replace(  # pyright: ignore[reportPrivateUsage]
        options, **(quick | changes)
    )
    return inbox


def end_leases(path: Path) -> None:
    """Have the file as if for the time of a lease no worker had renewed its own."""
    query_and_commit(path, "UPDATE karla_workers SET beat = beat - lease")


def served(inbox: SQLiteInbox, handler: Callable[[Any], object]) -> Receiver:
    """Return a receiver with inbox and one handler for everything."""
    receiver = Receiver(SECRET, inbox=inbox)
    receiver.on("*")(handler)
    return receiver


def in_threads(count: int, function: Callable[[int], object]) -> None:
    """Call function in as many threads at once, and return when all are done."""
    errors: list[BaseException] = []

    def call(number: int) -> None:
        try:
            function(number)
        except BaseException as error:  # noqa: BLE001 - for the test
            errors.append(error)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
