"""An inbox in a SQLite file on a local disk."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable
from sqlite3 import Connection

from karla_receiver.checks import (
    checked_clock,
    checked_count,
    checked_endpoint,
    checked_function,
    checked_seconds,
    wall_clock,
)
from karla_receiver.decoding import parse_event
from karla_receiver.delivery import Delivery
from karla_receiver.errors import ConfigurationError
from karla_receiver.events import ClaimEvent, Event, ShipmentEvent
from karla_receiver.handlers import Handlers
from karla_receiver.idempotency.limits import DEFAULT_WINDOW, checked_key, checked_window
from karla_receiver.idempotency.protocol import Key
from karla_receiver.inbox.attempts import Attempts
from karla_receiver.inbox.backoff import Backoff
from karla_receiver.inbox.frozen import refuse_frozen_threads, refuse_threads_before_fork
from karla_receiver.inbox.idle import IdleWatch
from karla_receiver.inbox.protocol import Novelty
from karla_receiver.inbox.rows import Put
from karla_receiver.inbox.worker import Worker, WorkerOptions
from karla_receiver.observing import Observer
from karla_receiver.signature import Verifier
from karla_receiver.sqlite.file import SQLiteFile
from karla_receiver.sqlite.forking import notice_fork, renew_after_fork
from karla_receiver.sqlite.writer import Work, Writer

__all__ = ["SQLiteInbox", "by_subject"]


def by_subject(event: Event) -> str | None:
    """Return the shipment or claim that event is about: for `serial_by`."""
    if isinstance(event, ShipmentEvent):
        return f"shipment {event.shipment_id}"
    return f"claim {event.claim_id}" if isinstance(event, ClaimEvent) else None


class SQLiteInbox:
    """Keeps deliveries in a file, and has handlers called for them afterwards.

    path: of a file on a local disk (no NFS), made if it is not there. It may be the
    application's own database, and the one of a `SQLiteStore`: all names begin with `karla_`.
    Only its owner may read it (mode 0600), and the files that SQLite makes beside it.
    endpoint: which webhook this is, if several share the file.
    key: what makes two deliveries the same one, from the event; None: the raw body does.
    window: seconds for which a delivery is remembered, so that a copy of it is not handled; 600
    or more. retention: seconds that what is done is kept, with its content; not less than window,
    which it is unless given. If nothing comes any more, what the machine
    was off may not count.
    workers: threads of this process that call the handlers; 0: `karla-receiver work` does. Refused
    where threads stand still between requests, as in `start`.
    max_attempts: after so many a delivery is kept as failed.
    lease: seconds after which a worker that gives no sign of life is taken for dead.
    serial_by: returns a name from the event, such as `by_subject`; deliveries of one name are
    handled one at a time, the oldest first. None, or for an event that has none: side by side.
    first_retry, longest_retry: seconds to the second attempt; doubled for each one, up to that.
    clock: returns unix seconds; None: `time.time`, looked up each time.
    Raises ConfigurationError for an unusable option or file.

    Safe for threads, event loops, several processes, and fork.
    """

    def __init__(
        self,
        path: object,
        *,
        endpoint: str = "default",
        key: Key = None,
        window: float = DEFAULT_WINDOW,
        retention: float | None = None,
        workers: int = 0,
        max_attempts: int = 16,
        lease: float = 60,
        serial_by: Callable[[Event], str | None] | None = None,
        first_retry: float = 5,
        longest_retry: float = 3600,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._window = checked_window(window)
        if retention is not None:
            limits = f"the window of {window:g} or more"
            checked_seconds("retention", retention, least=window, limits=limits)
        if serial_by is not None:
            checked_function("serial_by", serial_by, "returns a text from the event")
        self._endpoint = checked_endpoint(endpoint)
        self._key = checked_key(key)
        self._serial_by = serial_by
        self._clock = checked_clock(wall_clock if clock is None else clock)
        self._threads = checked_count("workers", workers, least=0, most=256)
        if workers:
            refuse_frozen_threads()
        self._options = WorkerOptions(
            endpoint=endpoint,
            max_attempts=checked_count("max_attempts", max_attempts, least=1, most=1000),
            lease=checked_seconds("lease", lease, least=1, most=86_400),
            retention=window if retention is None else retention,
            clock=self._clock,
        )
        self._backoff = Backoff(
            first=checked_seconds("first_retry", first_retry, least=0, most=86_400),
            longest=checked_seconds("longest_retry", longest_retry, least=0, most=86_400),
        )
        self._file = SQLiteFile(path)
        self._writer = Writer(self._file)
        self._idle = IdleWatch(endpoint, self._clock, expects_others=not workers)
        self._handlers: Handlers | None = None
        self._observer: Observer | None = None
        self._worker: Worker | None = None
        self._starting = threading.Lock()
        renew_after_fork(self)

    def __repr__(self) -> str:
        return f"<SQLiteInbox {str(self._file.path)!a} endpoint={self._endpoint!a}>"

    @property
    def key(self) -> Key:
        """What makes two deliveries the same one; None: the SHA-256 of the raw body."""
        return self._key

    @property
    def window(self) -> float:
        """Seconds for which a delivery is remembered."""
        return self._window

    def attach(self, handlers: Handlers, verifier: Verifier, observer: Observer | None) -> None:
        """Take the handlers that are to be called. Raises ConfigurationError on a second call.

        One inbox is one receiver's; two receivers need two, with an `endpoint` each.
        verifier: unused: only this library writes to the file.
        """
        if self._handlers is not None:
            raise ConfigurationError(
                "this inbox has a receiver: give the other one an inbox of its own, with another"
                " endpoint; the file may be the same"
            )
        self._handlers = handlers
        self._observer = observer

    def put(self, delivery: Delivery) -> Novelty:
        """Return when delivery is on the disk, and whether it was known before.

        Raises StorageError if it could not be kept.
        """
        novelty = self._writer.run(self._putting(delivery))
        self._rouse()
        return novelty

    async def put_async(self, delivery: Delivery) -> Novelty:
        """Same as `put`, without ever blocking the event loop.

        If it is cancelled, the delivery may have been kept or not.
        """
        novelty = await self._writer.run_async(self._putting(delivery))
        self._rouse()
        return novelty

    def start(self, workers: int | None = None) -> None:
        """Start the worker in this process; without effect if it runs.

        workers: threads, instead of the inbox's own number. By itself it starts with the first
        delivery that this process keeps: never in a parent that only forks off others.
        Raises ConfigurationError if no receiver has this inbox, if there are to be no threads, and
        where they would stand still between requests: in AWS Lambda, and in uWSGI without
        enable-threads. Also in a uWSGI that has yet to fork, unless it runs Python's fork hooks.
        """
        threads = self._threads if workers is None else workers
        checked_count("workers", threads, least=1, most=256)
        if self._handlers is None:
            raise ConfigurationError("no receiver has this inbox: Receiver(..., inbox=inbox)")
        refuse_frozen_threads()
        refuse_threads_before_fork()
        self._handlers.note_loop()
        notice_fork()
        with self._starting:
            if self._worker is None:
                attempts = Attempts(
                    self._file,
                    self._writer,
                    self._handlers,
                    self._observer,
                    limit=self._options.max_attempts,
                    backoff=self._backoff,
                    clock=self._clock,
                )
                self._worker = Worker(
                    self._file,
                    self._writer,
                    attempts,
                    self._options,
                    threads=threads,
                    idle=self._idle,
                )
                self._worker.start()
                atexit.register(self.stop)

    def stop(self, grace: float = 10) -> bool:
        """Stop the worker in this process: finish what runs, return the rest to the inbox.

        grace: seconds that handlers have to finish; what they are at is returned after that.
        Returns whether all finished. It starts again with the next delivery. Done by itself when
        the interpreter exits. Raises ConfigurationError in a handler, which would wait for itself.
        """
        notice_fork()
        with self._starting:
            worker = self._worker
            if worker is not None and worker.is_of_this_thread():
                raise ConfigurationError("a handler or an observer cannot stop its own worker")
            self._worker = None
        atexit.unregister(self.stop)
        return worker is None or worker.stop(grace)

    def close(self) -> None:
        """Stop the worker and close the file; it is opened again when it is needed.

        Raises as `stop` does, and StorageError while a handler that was left keeps its transaction.
        """
        self.stop()
        self._writer.close()

    def after_fork(self) -> None:
        """Leave the parent's worker to the parent."""
        if self._worker is not None:
            atexit.unregister(self.stop)
            self._worker = None
        self._starting = threading.Lock()

    def _putting(self, delivery: Delivery) -> Work[Novelty]:
        lane = None
        if self._serial_by is not None and delivery.problem is None:
            lane = _checked_lane(self._serial_by(parse_event(delivery.body)))
        put = Put(delivery, self._endpoint, lane, self._clock())

        def put_and_look(connection: Connection) -> Novelty:
            novelty = put(connection)
            self._idle.look(connection)
            return novelty

        return put_and_look

    def _rouse(self) -> None:
        worker = self._worker
        if worker is not None:
            worker.nudge()
        elif self._threads and self._handlers is not None:
            self.start()


def _checked_lane(lane: object) -> str | None:
    if lane is None or isinstance(lane, str):
        return lane
    raise ConfigurationError(f"serial_by must return a text or None, not {type(lane).__name__}")
