"""Handles what is kept: threads that call the handlers, and one that keeps the books for them.

Only the bookkeeper takes deliveries and notes what became of them, many in one transaction; a
handler's thread never waits for the disk, unless its handler writes in the delivery's transaction.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from sqlite3 import Connection
from typing import Final

import msgspec

from karla_receiver.errors import StorageError
from karla_receiver.inbox import rows, workers
from karla_receiver.inbox.attempts import Attempts
from karla_receiver.inbox.idle import IdleWatch
from karla_receiver.inbox.rows import Settlement, State, Taken
from karla_receiver.observing.logs import logger
from karla_receiver.sqlite.file import SQLiteFile
from karla_receiver.sqlite.reader import Reader
from karla_receiver.sqlite.writer import Writer, is_of_the_work

__all__ = ["Worker", "WorkerOptions"]

_LOG_SECONDS: Final = 60.0
# What is taken ahead, so that the threads need not wait: so many seconds of work.
_AHEAD_SECONDS: Final = 0.25
_LARGEST_BATCH: Final = 256
_PURGE_BATCH: Final = 500
# A clock that falls behind the monotonic one by more was set back.
_CLOCK_STEP_SECONDS: Final = 1.0


class WorkerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How an inbox's worker works; see `SQLiteInbox`. Times in seconds.

    Those with a default are for tests; users cannot set them. poll: how often the worker looks for
    deliveries of other processes; those of its own process wake it. pause: the wait after the file
    failed. longest_beat: the lease is renewed as often, or three times a lease. last_tries and
    last_wait: what a stopped worker spends on a file that fails.
    """

    endpoint: str
    max_attempts: int
    lease: float
    retention: float
    clock: Callable[[], float]
    monotonic: Callable[[], float] = time.monotonic
    poll: float = 0.2
    pause: float = 1.0
    longest_beat: float = 10.0
    last_tries: int = 3
    last_wait: float = 5.0


# The worker that called the running handler: an async one is in no thread of the worker's.
_CURRENT: Final[ContextVar[Worker | None]] = ContextVar("karla_receiver.worker", default=None)


class Worker:
    """The worker of one process. Not to be started twice."""

    def __init__(
        self,
        file: SQLiteFile,
        writer: Writer,
        attempts: Attempts,
        options: WorkerOptions,
        *,
        threads: int,
        idle: IdleWatch,
    ) -> None:
        self._writer = writer
        self._idle = idle
        self._attempts = attempts
        self._options = options
        lock = threading.Lock()
        self._work = threading.Condition(lock)  # for the handlers' threads
        self._changed = threading.Condition(lock)  # for the bookkeeper
        self._ready: deque[Taken] = deque()
        self._running: dict[tuple[int, int], Taken] = {}
        self._settled: list[Settlement] = []
        self._finished = 0
        self._nudged = True
        self._stopping = False
        self._closing = False
        # Of the bookkeeper alone:
        self._number = 0
        self._reader = Reader(file)
        self._next_beat = 0.0
        self._next_log = 0.0
        self._last_taken = 0.0
        self._clock_offset: float | None = None
        self._bookkeeper = threading.Thread(
            target=self._keep_books, name="karla-worker-books", daemon=True
        )
        self._threads = [
            threading.Thread(target=self._handle, name=f"karla-worker-{number}", daemon=True)
            for number in range(1, threads + 1)
        ]

    def start(self) -> None:
        """Begin."""
        for thread in (self._bookkeeper, *self._threads):
            thread.start()

    def is_of_this_thread(self) -> bool:
        """Return whether the caller is one of the worker's threads, or its async handler."""
        is_bookkeeper = threading.current_thread() is self._bookkeeper
        return is_bookkeeper or _CURRENT.get() is self

    def nudge(self) -> None:
        """Say that there is something to take."""
        with self._changed:
            self._nudged = True
            self._changed.notify()

    def stop(self, grace: float) -> bool:
        """Take nothing more, finish what runs, and return the rest to the inbox.

        grace: seconds that handlers have to finish. What still runs then is returned as well, to
        be handled again; its attempt counts. Where the file cannot be written, for 5 s more, all
        that is left is taken over when the lease has ended. Returns whether all finished.
        """
        deadline = time.monotonic() + grace
        with self._changed:
            self._stopping = True
            self._settled.extend(_returned(taken) for taken in self._ready)
            self._ready.clear()
            self._work.notify_all()
            self._changed.notify()
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        with self._changed:
            left = list(self._running.values())
            self._settled.extend(_returned(taken, begun=True) for taken in left)
            self._closing = True
            self._changed.notify()
        self._bookkeeper.join(self._options.last_wait)
        return not left and not self._bookkeeper.is_alive()

    # -- the handlers' threads

    def _handle(self) -> None:
        _CURRENT.set(self)
        while True:
            with self._work:
                while not self._ready and not self._stopping:
                    self._work.wait()
                if self._stopping:
                    return
                taken = self._ready.popleft()
                self._running[taken.id, taken.take] = taken
            settlement = self._attempts.make(taken)
            with self._changed:
                self._running.pop((taken.id, taken.take), None)
                self._finished += 1
                if settlement is not None:
                    self._settled.append(settlement)
                self._changed.notify()

    # -- the bookkeeper

    def _keep_books(self) -> None:
        pause = 0.0
        failures = 0
        while True:
            with self._changed:
                self._changed.wait_for(self._is_wanted, timeout=pause)
                closing = self._closing
                settled, self._settled = self._settled, []
                self._nudged = False
            try:
                self._keep_alive(settled)
                pause = self._options.poll
                if self._turn(settled):
                    pause = 0.0
                failures = 0
            except Exception as error:  # noqa: BLE001 - logged; a thread that ends helps nobody
                failures += 1
                self._complain(error)
                if is_of_the_work(error):
                    settled = self._note_singly(settled)
                with self._changed:
                    self._settled[:0] = settled
                    self._changed.wait_for(lambda: self._closing, timeout=self._options.pause)
            if closing and (not failures or failures >= self._options.last_tries):
                self._leave()
                return

    def _note_singly(self, settled: list[Settlement]) -> list[Settlement]:
        """Note what can be noted; return what is left to note, without what cannot be kept."""
        try:
            now = self._options.clock()
        except Exception:  # noqa: BLE001 - logged by the caller, who had it as well
            return settled
        left: list[Settlement] = []
        for each in settled:
            try:
                self._writer.run(partial(each.apply, now=now))
            except Exception as error:  # noqa: BLE001 - logged
                if is_of_the_work(error):
                    logger.error("the note on delivery %d cannot be kept: %s", each.id, error)
                    left.append(_without_note(each))
                else:
                    left.append(each)
        return left

    def _is_wanted(self) -> bool:
        return bool(self._settled or self._nudged or self._closing)

    def _turn(self, settled: list[Settlement]) -> bool:
        """Note what was settled and take what is due; return whether there may be more."""
        now = self._options.clock()
        wanted = self._wanted()
        found = self._read_due(now, wanted) if wanted else []
        if not settled and not found:
            return False
        number = self._number

        def work(connection: Connection) -> list[Taken]:
            for each in settled:
                each.apply(connection, now)
            return rows.take(connection, found, number, now)

        taken = self._writer.run(work)
        with self._changed:
            if self._stopping:
                self._settled.extend(map(_returned, taken))
            else:
                self._ready.extend(taken)
                self._work.notify(len(taken))
        # What was settled may have freed its lane, since it was looked for.
        return bool(wanted and (settled or len(found) == wanted))

    def _wanted(self) -> int:
        """Return how many deliveries to take."""
        with self._changed:
            if self._stopping:
                return 0
            now = time.monotonic()
            elapsed = max(now - self._last_taken, 0.001)
            ahead = int(_AHEAD_SECONDS * self._finished / elapsed)
            target = len(self._threads) + min(ahead, _LARGEST_BATCH)
            backlog = len(self._ready) + len(self._running)
            if backlog > target // 2 and backlog >= len(self._threads):
                return 0
            self._finished = 0
            self._last_taken = now
            return target - backlog

    def _read_due(self, now: float, limit: int) -> list[Taken]:
        return self._reader.read(lambda c: rows.find_due(c, self._options.endpoint, now, limit))

    def _keep_alive(self, settled: list[Settlement]) -> None:
        """Renew the lease in time; take over from the dead, purge, and see to a clock set back."""
        now = self._options.monotonic()
        if now < self._next_beat:
            return
        with self._changed:
            mine = {(each.id, each.take) for each in (*settled, *self._settled)}
            mine.update((each.id, each.take) for each in self._ready)
            mine.update(self._running)
        self._number, parked = self._writer.run(lambda c: self._housekeeping(c, mine))
        self._attempts.tell_parked(parked)
        # From before the beat: what it took counts against the lease.
        self._next_beat = now + min(self._options.lease / 3, self._options.longest_beat)

    def _housekeeping(self, connection: Connection, mine: set[tuple[int, int]]) -> tuple[int, int]:
        """Return the worker's number, and how many deliveries are failed because theirs died."""
        options, now = self._options, self._options.clock()
        monotonic = options.monotonic()
        number = self._number
        if not workers.beat(connection, number, monotonic):
            if number:
                logger.error("worker %d was taken for dead: a longer lease is needed", number)
            number = workers.enlist(connection, options.endpoint, monotonic, options.lease)
        rows.disown(connection, number, mine)
        freed = workers.bury_the_dead(
            connection,
            options.endpoint,
            monotonic=monotonic,
            now=now,
            attempts=options.max_attempts,
        )
        if any(freed.values()):
            logger.warning("took over %d deliveries of workers that died", sum(freed.values()))
        offset = now - monotonic
        if self._clock_offset is None or offset < self._clock_offset - _CLOCK_STEP_SECONDS:
            rows.forgive(connection, options.endpoint, now)
        self._clock_offset = offset
        before = min(now, rows.proved_time(connection, monotonic)) - options.retention
        rows.purge(connection, options.endpoint, before, _PURGE_BATCH)
        self._idle.look(connection)
        return number, freed[State.FAILED]

    def _leave(self) -> None:
        try:
            self._writer.run(lambda connection: workers.leave(connection, self._number))
        except StorageError as error:
            self._complain(error)
        self._reader.close()

    def _complain(self, error: Exception) -> None:
        now = time.monotonic()
        if now >= self._next_log:
            self._next_log = now + _LOG_SECONDS
            logger.error(
                "the worker cannot use the inbox, and goes on trying: %s",
                error,
                exc_info=None if isinstance(error, StorageError) else error,
            )


def _without_note(settlement: Settlement) -> Settlement:
    return msgspec.structs.replace(settlement, note="what is to be noted here cannot be kept")


def _returned(taken: Taken, *, begun: bool = False) -> Settlement:
    return Settlement(
        id=taken.id,
        take=taken.take,
        state=State.WAITING,
        note="the worker was stopped" if begun else None,
        untaken=not begun,
    )
