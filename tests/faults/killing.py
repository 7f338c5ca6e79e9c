"""Cycles of start and kill over one file, and the account of them."""

from __future__ import annotations

import os
import random
import select
import signal
import sqlite3
import time
from collections import Counter
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.faults.shop import Failpoint, make_shop, serve
from tests.waiting import PATIENCE_SECONDS

POINTS = (
    "put: before commit",
    "put: after commit",  # between commit and answer
    "take and settle: before commit",
    "take and settle: after commit",
    "handler: before effect",
    "handler: between effect and mark",
    "effect: before commit",
    "effect: after commit",
)


@dataclass(kw_only=True)
class Count:
    """What came of all cycles.

    lost: acknowledged and not stored, or without effect. doubled: more than one effect in the
    transaction; doubled_outside: more than one outside of it, which at least once allows.
    """

    kills: int = 0
    acknowledged: int = 0
    stored: int = 0
    lost: int = 0
    doubled: int = 0
    doubled_outside: int = 0
    integrity: str = ""

    @property
    def is_clean(self) -> bool:
        return not self.lost and not self.doubled and self.integrity == "ok"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Killing:
    """Kills, one after another, of processes that all use the file at path."""

    def __init__(self, path: Path, *, seed: int) -> None:
        self._path = path
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self._count = Count()
        self._acknowledged: list[str] = []
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE effects (key TEXT)")

    def kill_at_random(self) -> None:
        self._cycle(Failpoint(None, 0), self._random.uniform(0.01, 0.2))

    def kill_at(self, point: str) -> None:
        self._cycle(Failpoint(point, self._random.randint(1, 20)), 60)

    def _cycle(self, failpoint: Failpoint, seconds: float) -> None:
        """Fork, wait until it has acknowledged something, kill, and see what is stored."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            try:
                serve(self._path, self._count.kills, writing, failpoint)
            finally:
                os._exit(1)
        os.close(writing)
        told = _read_until_killed(reading, child, seconds)
        os.close(reading)
        status = os.waitpid(child, 0)[1]
        if os.WTERMSIG(status) != signal.SIGKILL:
            raise RuntimeError(f"the process ended with status {status}, not by a kill")
        self._count.kills += 1
        keys = told.decode().split()
        self._acknowledged += keys
        self._count.lost += len(set(keys) - self._stored(self._count.kills - 1))

    def _stored(self, cycle: int) -> set[str]:
        with closing(sqlite3.connect(self._path, timeout=PATIENCE_SECONDS)) as connection:
            query = "SELECT key FROM karla_inbox WHERE key GLOB ? AND id > ?"
            newest = connection.execute("SELECT max(id) FROM karla_inbox").fetchone()[0] or 0
            found = connection.execute(query, (f"{cycle}-*", newest - 100_000))
            return {key for (key,) in found}

    def drain_and_count(self) -> Count:
        """Handle what is left, in this process, and return the account."""
        count = self._count
        inbox = make_shop(self._path)
        inbox.start()
        with closing(sqlite3.connect(self._path, timeout=PATIENCE_SECONDS)) as connection:
            deadline = time.monotonic() + 600
            query = "SELECT count(*) FROM karla_inbox WHERE state IN ('waiting', 'running')"
            while connection.execute(query).fetchone()[0]:
                if time.monotonic() > deadline:
                    raise TimeoutError("the inbox was not drained in ten minutes")
                time.sleep(0.05)
            inbox.close()
            stored = {key for (key,) in connection.execute("SELECT key FROM karla_inbox")}
            effects = Counter(key for (key,) in connection.execute("SELECT key FROM effects"))
            (count.integrity,) = connection.execute("PRAGMA integrity_check").fetchone()
        outside = Counter(self._path.with_suffix(".outside").read_text().split())
        count.acknowledged = len(self._acknowledged)
        count.stored = len(stored)
        # Each is one lost, whether it was not stored or not handled.
        count.lost = len({key for key in self._acknowledged if not effects[key]})
        count.doubled = sum(number > 1 for number in effects.values())
        count.doubled_outside = sum(number > 1 for number in outside.values())
        return count


def _read_until_killed(reading: int, child: int, seconds: float) -> bytes:
    """Return all that the child wrote; kill it that long after its first word."""
    told = b""
    deadline = time.monotonic() + 60
    begun = False
    while True:
        wait = max(0.0, deadline - time.monotonic())
        if not select.select([reading], [], [], wait)[0]:
            os.kill(child, signal.SIGKILL)
            deadline = time.monotonic() + 60
            continue
        chunk = os.read(reading, 65_536)
        if not chunk:
            return told
        told += chunk
        if not begun:
            begun = True
            deadline = time.monotonic() + seconds
        elif time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
