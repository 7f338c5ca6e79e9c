"""Durable writes to one SQLite file: one transaction at a time, which waiting callers share.

A call that finds the file free commits in its own thread: on a fast disk, a lone write that is
handed to another thread and back takes a quarter longer. All other calls queue up. A thread takes
the queue whenever the file is free, and commits it in groups, each in one transaction. Calls from
an event loop always queue up, so that the loop never waits for a disk.

A reservation gives a caller a transaction of its own. It has its place in the same queue, so it
waits for no call that came later.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from karla_receiver.errors import StorageError
from karla_receiver.sqlite.file import Session, SQLiteFile, is_locked
from karla_receiver.sqlite.forking import notice_fork, pause_for_fork, renew_after_fork

if TYPE_CHECKING:
    import asyncio

__all__ = ["Work", "Writer", "is_of_the_work"]

_T = TypeVar("_T")
Work: TypeAlias = Callable[[sqlite3.Connection], _T]

_LARGEST_GROUP: Final = 256
# How long a caller waits behind a reservation. Only a handler that keeps its own makes it long.
_PATIENCE_SECONDS: Final = 5.0


# What SQLite says of values that it cannot keep, whatever the file is like.
_OF_THE_WORK: Final = (
    sqlite3.DataError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
)


def is_of_the_work(error: BaseException) -> bool:
    """Return whether what `Writer.run` raised is due to the work, and not to the file."""
    return not isinstance(error, StorageError) or isinstance(error.__cause__, _OF_THE_WORK)


class _Job:
    """A caller's work, and its result or error. A job without work is a reservation."""

    __slots__ = ("error", "future", "gate", "owner", "result", "work")

    def __init__(self, work: Work[Any] | None) -> None:
        self.work = work
        self.result: Any = None
        self.error: BaseException | None = None
        self.gate = threading.Lock()  # released when a waiting thread may go on
        self.gate.acquire()
        self.future: asyncio.Future[Any] | None = None  # of a waiting task
        self.owner = threading.get_ident()

    def outcome(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.result


class Writer:
    """Writes to one file for all threads and event loops of this process. Safe for fork."""

    def __init__(self, file: SQLiteFile) -> None:
        self._file = file
        self.after_fork()
        pause_for_fork(self)
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Start anew, without what belongs to the parent process."""
        # Re-entrant: a handler of signals may write while its thread has the lock.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)  # the queue, or the holder
        self._queue: deque[_Job] = deque()
        self._holder: _Job | None = None  # who may use the session; None: the file is free
        self._session: Session | None = None
        self._reservations: set[_Job] = set()  # those in the queue, and the holder if it is one
        self._thread: threading.Thread | None = None

    def run(self, work: Work[_T]) -> _T:
        """Return what work returns, when its changes are on the disk.

        work: is called with a connection in a transaction, which it shares with others: it must
        leave nothing half done if it raises anything but sqlite3.Error.
        Raises StorageError, and then nothing of it counts; and what work raises.
        """
        notice_fork()
        job = _Job(work)
        try:
            if self._takes_hold(job):
                self._commit([job])
                self._release()
            else:
                self._wait(job, _PATIENCE_SECONDS)
        except BaseException:
            self._leave(job)
            raise
        result: _T = job.outcome()
        return result

    async def run_async(self, work: Work[_T]) -> _T:
        """Same as `run`, from an event loop. A cancelled caller's work may be done or not."""
        import asyncio  # takes longer to import than all the rest, and many users never need it

        notice_fork()
        job = _Job(work)
        job.future = future = asyncio.get_running_loop().create_future()
        with self._lock:
            self._enqueue(job)
            is_delayed = bool(self._reservations)
        if is_delayed:
            await asyncio.wait((future,), timeout=_PATIENCE_SECONDS)
            if not future.done() and self._withdraw(job):
                raise self._impatience()
        result: _T = await future
        return result

    def reserve(self) -> Session:
        """Return the session, with a transaction begun, for the caller alone until `hand_back`.

        Raises StorageError; at once, if the caller's own thread has the session.
        """
        notice_fork()
        if self._would_deadlock():
            # Of two async handlers on one event loop, the one that waited would stop the other.
            raise StorageError(
                f"{self._file.path}: another async handler on this event loop has the transaction,"
                " and could not go on while this one waits: make handlers that write in it sync"
            )
        job = self._reserved(_PATIENCE_SECONDS)
        try:
            if self._session is None:
                self._session = self._file.open()
            self._file.begin(self._session)
        except BaseException as error:
            self._fail([], error)
            self._leave(job)
            raise
        return self._session

    def hand_back(self) -> None:
        """End a reservation. What was not committed is undone.

        The next caller gets another connection: whoever had this one may have set anything on it.
        """
        self._drop()
        self._release()

    def close(self) -> None:
        """Write the queue, close the connection and end the thread; the next call starts anew.

        Raises StorageError if somebody keeps a reservation.
        """
        resume = self._closed(_PATIENCE_SECONDS)
        with self._lock:
            self._thread = None
            self._changed.notify_all()  # the thread, and that of an earlier call
        resume()

    def pause(self, seconds: float) -> Callable[[], object]:
        """Close the connection, and open none until what is returned is called.

        It waits for the transaction that is running, and not for the queue.
        Raises StorageError if that takes longer than so many seconds, or if it is the caller's own
        thread that writes: in a handler's transaction, or in a handler of signals.
        """
        return self._closed(seconds, ahead=True)

    def _closed(self, seconds: float, *, ahead: bool = False) -> Callable[[], object]:
        notice_fork()
        if self._would_deadlock():
            raise StorageError(f"{self._file.path}: this thread itself is writing to it")
        job = self._reserved(seconds, ahead=ahead)
        self._drop()
        return partial(self._leave, job)

    def _would_deadlock(self) -> bool:
        """Return whether waiting for the file, or the lock, would deadlock on this thread."""
        with suppress(RuntimeError):
            self._changed.notify(0)  # which only the lock's owner may
            return True
        with self._lock:
            waiting = [job for job in self._queue if job.work is None]
            owners = {job.owner for job in (self._holder, *waiting) if job is not None}
        return threading.get_ident() in owners

    # -- a caller's turn

    def _takes_hold(self, job: _Job, *, ahead: bool = False) -> bool:
        """Return True if the file is free: from now on it is job's. If not, job queues up."""
        with self._lock:
            is_free = self._holder is None and not self._queue
            if is_free:
                self._holder = job
            else:
                self._enqueue(job, ahead=ahead)
            if job.work is None:
                self._reservations.add(job)
            return is_free

    def _enqueue(self, job: _Job, *, ahead: bool = False) -> None:
        """Have the thread see to job. Raises StorageError if there is no thread to be had."""
        if self._thread is None:
            thread = threading.Thread(target=self._serve, name="karla-writer", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # too many threads, or the interpreter is ending
                raise StorageError(f"{self._file.path}: no thread to write it: {error}") from error
            self._thread = thread
        if ahead:
            self._queue.appendleft(job)
        else:
            self._queue.append(job)
        self._changed.notify()

    def _reserved(self, seconds: float, *, ahead: bool = False) -> _Job:
        """Return a reservation that holds the file."""
        job = _Job(None)
        try:
            if not self._takes_hold(job, ahead=ahead):
                self._wait(job, seconds)
        except BaseException:
            self._leave(job)
            raise
        return job

    def _wait(self, job: _Job, seconds: float) -> None:
        """Wait until the thread has seen to job. Raises StorageError if it does not begin in time.

        When it has begun, there is no more giving up: what is being committed may count.
        """
        if not job.gate.acquire(timeout=seconds):
            if self._withdraw(job):
                raise self._impatience()
            job.gate.acquire()

    def _withdraw(self, job: _Job) -> bool:
        """Take job out of the queue; return False if it is not there: it is being done."""
        with self._lock:
            if job not in self._queue:
                return False
            self._queue.remove(job)
            self._reservations.discard(job)
            return True

    def _leave(self, job: _Job) -> None:
        """Have nobody wait for job: withdraw it, or release the file that it holds."""
        if not self._withdraw(job) and self._holder is job:
            self._drop()
            self._release()

    def _release(self) -> None:
        """Have the file free, for the thread if there is a queue, or for the next caller."""
        with self._lock:
            self._changed.notify()
            self._reservations -= {self._holder}
            self._holder = None

    def _drop(self) -> None:
        """Close the connection, and undo what was not committed."""
        if self._session is not None:
            self._session.undo()
            self._session.close()
            self._session = None

    def _impatience(self) -> StorageError:
        return StorageError(
            f"{self._file.path}: a handler has kept its transaction for {_PATIENCE_SECONDS:g} s:"
            " let it be the last and shortest thing that it does"
        )

    # -- the thread

    def _serve(self) -> None:
        """Take the queue whenever the file is free, until the writer is closed."""
        mine = _Job(None)
        while jobs := self._next_group(mine):
            if jobs[0].work is not None:
                self._commit(jobs)
                self._release()
            _tell(jobs)

    def _next_group(self, mine: _Job) -> list[_Job]:
        """Wait for jobs, and take hold of the file: for a reservation alone, or for `mine`.

        Returns none if the writer is closed. A closed one's thread writes what came meanwhile.
        """
        with self._lock:
            while self._holder is not None or not self._queue:
                if not self._queue and self._thread is not threading.current_thread():
                    return []
                self._changed.wait()
            jobs = [self._queue.popleft()]
            if jobs[0].work is None:
                self._holder = jobs[0]
                return jobs
            self._holder = mine
            while self._queue and self._queue[0].work is not None and len(jobs) < _LARGEST_GROUP:
                jobs.append(self._queue.popleft())
            return jobs

    # -- the commit

    def _commit(self, jobs: list[_Job]) -> None:
        """Do all jobs in one transaction. What is raised is each job's, for its caller."""
        try:
            if self._session is None:
                self._session = self._file.open()
            works = [job.work for job in jobs if job.work is not None]
            results = self._file.transact(
                self._session, lambda connection: [work(connection) for work in works]
            )
        except BaseException as error:  # noqa: BLE001 - for the caller whose work raised it
            if len(jobs) == 1 or not is_of_the_work(error):
                self._fail(jobs, error)
            else:
                for job in jobs:
                    self._commit([job])  # one caller's fault is no other's
        else:
            for job, result in zip(jobs, results, strict=True):
                job.result = result

    def _fail(self, jobs: list[_Job], error: BaseException) -> None:
        """Give jobs the error; if the file is locked, the works in the queue as well."""
        if isinstance(error, StorageError):
            self._drop()
        for job in jobs:
            job.error = error
        if is_locked(error):
            # Who queued up meanwhile has waited as well, and would wait in vain as long again.
            with self._lock:
                refused = [job for job in self._queue if job.work is not None]
                self._queue = deque(job for job in self._queue if job.work is None)
            for job in refused:
                job.error = error
            _tell(refused)


def _tell(jobs: list[_Job]) -> None:
    """Have the callers of jobs go on, in their threads and on their event loops."""
    loops: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
    for job in jobs:
        if job.future is None:
            job.gate.release()
        else:
            loops.setdefault(job.future.get_loop(), []).append(job)
    for loop, group in loops.items():
        with suppress(RuntimeError):  # the loop was closed: nobody waits any more
            loop.call_soon_threadsafe(_resolve, group)


def _resolve(jobs: list[_Job]) -> None:
    for job in jobs:
        if job.future is None or job.future.done():
            continue  # its caller was cancelled
        if job.error is None:
            job.future.set_result(job.result)
        else:
            job.future.set_exception(job.error)
