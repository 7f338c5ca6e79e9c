"""One writer a process, and many writes a commit: concurrent callers share the disk's flush.

A caller that finds nobody writing commits at once, in its own thread. Whoever comes meanwhile
queues up; a thread then writes the whole queue in one transaction, and tells each when it is on
the disk. An event loop's callers always queue up, so that the loop never waits for a disk.

Whoever needs a transaction of its own reserves the turn in the same queue: so nobody starves.
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
# How long a caller waits for a turn. It is soon, unless somebody keeps a reserved one.
_PATIENCE_SECONDS: Final = 5.0


# What SQLite says of values that it cannot keep, whatever the file is like.
_OF_THE_WORK: Final = (
    sqlite3.DataError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
)


def is_of_the_work(error: Exception) -> bool:
    """Return whether what `Writer.run` raised is due to the work, and not to the file."""
    return not isinstance(error, StorageError) or isinstance(error.__cause__, _OF_THE_WORK)


class _Job:
    """One caller's work, and what became of it. Without work: a reservation."""

    __slots__ = ("error", "future", "gate", "owner", "result", "work")

    def __init__(self, work: Work[Any] | None) -> None:
        self.work = work
        self.result: Any = None
        self.error: BaseException | None = None
        self.gate = threading.Lock()  # of a thread, if it has to wait
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
        self._session: Session | None = None
        self._renew()
        pause_for_fork(self)
        renew_after_fork(self)

    def _renew(self) -> None:
        self._lock = threading.RLock()  # which knows its owner
        self._wake = threading.Condition(self._lock)
        self._queue: deque[_Job] = deque()
        # Who writes, or is about to: a caller's job, or the thread.
        self._leader: _Job | threading.Thread | None = None
        self._called = False  # the thread shall be the one
        self._reservations = 0  # had, or waited for
        self._thread: threading.Thread | None = None

    def pause(self, seconds: float) -> Callable[[], object]:
        """Close the connection, and open none until what is returned is called.

        Raises StorageError if that takes longer than so many seconds, or if it is the caller's own
        thread that writes: in a handler's transaction, or in a handler of signals.
        """
        notice_fork()
        if self._has_this_thread():
            raise StorageError(f"{self._file.path}: this thread itself is writing to it")
        job = _Job(None)
        self._take_turn(job, seconds)
        self._drop()
        return partial(self._leave, job)

    def _has_this_thread(self) -> bool:
        """Return whether to wait for the turn, or the lock, were to wait for this thread itself."""
        with suppress(RuntimeError):
            self._wake.notify(0)  # which only the lock's owner may
            return True
        with self._lock:
            reservations = [job for job in self._queue if job.work is None]
            if isinstance(self._leader, _Job):
                reservations.append(self._leader)
        return threading.get_ident() in {job.owner for job in reservations}

    def after_fork(self) -> None:
        """Forget what belongs to the parent process."""
        self._session = None
        self._renew()

    def run(self, work: Work[_T]) -> _T:
        """Return what work returns, when what it did is on the disk.

        work: is called with a connection in a transaction, which it shares with others: it must
        leave nothing half done if it raises anything but sqlite3.Error.
        Raises StorageError, and then nothing of it counts; and what work raises.
        """
        notice_fork()
        job = _Job(work)
        try:
            if self._leads_or_queues(job):
                self._commit([job])
                self._hand_over()
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
            if self._thread is None:
                self._start()
            self._queue.append(job)
            if self._leader is None:
                self._call_thread()
            is_delayed = self._reservations > 0
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
        if self._has_this_thread():
            # Of two async handlers on one event loop, the one that waited would stop the other.
            raise StorageError(
                f"{self._file.path}: another async handler on this event loop has the transaction,"
                " and could not go on while this one waits: make handlers that write in it sync"
            )
        job = _Job(None)
        self._take_turn(job, _PATIENCE_SECONDS)
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
        self._hand_over()

    def close(self) -> None:
        """Write what is queued and close the connection; the next call opens another.

        Raises StorageError if somebody keeps a reservation.
        """
        resume = self.pause(_PATIENCE_SECONDS)
        with self._lock:
            self._thread = None
            self._wake.notify_all()
        resume()

    def _take_turn(self, job: _Job, seconds: float) -> None:
        try:
            if not self._leads_or_queues(job):
                self._wait(job, seconds)
                job.outcome()
        except BaseException:
            self._leave(job)
            raise

    def _leads_or_queues(self, job: _Job) -> bool:
        """Return True if it is the caller's turn; else job is in the queue."""
        with self._lock:
            if job.work is None:
                self._reservations += 1
            if self._leader is None:
                self._leader = job
                return True
            self._queue.append(job)
            return False

    def _wait(self, job: _Job, seconds: float) -> None:
        """Wait at the gate of job, which is in the queue, and at last give up."""
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
            self._reservations -= job.work is None
            return True

    def _leave(self, job: _Job) -> None:
        """Have nothing wait for job's caller, and the turn be somebody else's if it was its."""
        if not self._withdraw(job) and self._leader is job:
            self._drop()
            self._hand_over()

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

    def _start(self) -> None:
        thread = threading.Thread(target=self._write, name="karla-writer", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no thread to be had, or the interpreter is ending
            raise StorageError(f"{self._file.path}: no thread to write it: {error}") from error
        self._thread = thread

    def _hand_over(self) -> None:
        """Stop writing; if others wait, have the thread write for them."""
        with self._lock:
            if isinstance(self._leader, _Job) and self._leader.work is None:
                self._reservations -= 1
            self._leader = None
            if not self._queue:
                return
            if self._thread is None:
                try:
                    self._start()
                except StorageError as error:
                    refused = list(self._queue)
                    self._queue.clear()
                    self._reservations = 0
                    _refuse(refused, error)
                    return
            self._call_thread()

    def _call_thread(self) -> None:
        self._leader = self._thread
        self._called = True
        self._wake.notify()

    def _write(self) -> None:
        me = threading.current_thread()
        while True:
            with self._lock:
                while self._thread is me and not self._called:
                    self._wake.wait()
                if self._thread is not me:
                    return  # closed; whoever is called is the next one
                self._called = False
            self._write_queue()

    def _write_queue(self) -> None:
        """Write group after group until the queue is empty, or the turn is somebody else's."""
        while True:
            with self._lock:
                if not self._queue:
                    self._leader = None
                    return
                jobs = self._next_group()
                if not jobs:
                    self._leader = self._queue.popleft()  # a reservation
                    _tell([self._leader])
                    return
            self._commit(jobs)
            _tell(jobs)

    def _next_group(self) -> list[_Job]:
        jobs: list[_Job] = []
        while self._queue and self._queue[0].work is not None and len(jobs) < _LARGEST_GROUP:
            jobs.append(self._queue.popleft())
        return jobs

    def _commit(self, jobs: list[_Job]) -> None:
        """Do all jobs in one transaction. What is raised is each job's, for its caller."""
        try:
            if self._session is None:
                self._session = self._file.open()
            works = [job.work for job in jobs if job.work is not None]
            results = self._file.transact(
                self._session, lambda connection: [work(connection) for work in works]
            )
        except StorageError as error:
            if len(jobs) > 1 and is_of_the_work(error):
                for job in jobs:
                    self._commit([job])
            else:
                self._fail(jobs, error)
        except BaseException as error:  # noqa: BLE001 - for the caller whose work raised it
            if len(jobs) == 1:
                jobs[0].error = error
            else:
                for job in jobs:
                    self._commit([job])  # one caller's fault is no other's
        else:
            for job, result in zip(jobs, results, strict=True):
                job.result = result

    def _fail(self, jobs: list[_Job], error: BaseException) -> None:
        self._drop()
        for job in jobs:
            job.error = error
        if is_locked(error):
            # Who queued up meanwhile has waited as well, and would wait in vain as long again.
            with self._lock:
                refused = [job for job in self._queue if job.work is not None]
                self._queue = deque(job for job in self._queue if job.work is None)
            _refuse(refused, error)


def _refuse(jobs: list[_Job], error: BaseException) -> None:
    for job in jobs:
        job.error = error
    _tell(jobs)


def _tell(jobs: list[_Job]) -> None:
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
