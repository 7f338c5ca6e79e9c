"""Celery: an inbox over a broker, for any number of machines. Install the extra `celery`.

The web side publishes each delivery as a task and answers when the broker has confirmed it; a
worker verifies the signed bytes once more and calls the receiver's handlers. The broker decides
what "kept" means: RabbitMQ confirms a persistent message of a durable queue when it is on disk;
Redis answers when it is in memory, and on disk only as far as its `appendonly` goes.

The worker runs `celery -A module worker -Q karla`, where importing the module makes the receiver.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

import msgspec
from celery import Celery
from celery.exceptions import Reject
from kombu import Connection, Exchange, Producer, Queue
from msgspec.structs import replace

from karla_receiver import observing
from karla_receiver.checks import checked_count
from karla_receiver.decoding import parse_event
from karla_receiver.delivery import Delivery
from karla_receiver.errors import (
    ConfigurationError,
    DeliveryError,
    PayloadError,
    Reason,
    SignatureError,
    StorageError,
)
from karla_receiver.events import Event, decodable
from karla_receiver.handlers import Handlers
from karla_receiver.idempotency.keys import delivery_key, occurrence_key
from karla_receiver.idempotency.protocol import Claim, ClaimState, IdempotencyStore, Key
from karla_receiver.inbox.backoff import Backoff
from karla_receiver.inbox.protocol import Novelty
from karla_receiver.observing import Observer, logs
from karla_receiver.observing.logs import logger
from karla_receiver.outcomes import CURRENT, Discard, PlainAttempt, RetryLater
from karla_receiver.request import relevant_headers
from karla_receiver.signature import Verifier, parse_header

__all__ = ["CeleryInbox"]

# A message that waits is in a worker's memory, unacknowledged: RabbitMQ takes it away after half
# an hour, Redis after an hour. A longer wait is done in several.
_LONGEST_WAIT: Final = 900
_BACKOFF: Final = Backoff(first=10, longest=_LONGEST_WAIT)
# Until a claim is looked at again, or a store that could not be reached.
_SHORT_WAIT: Final = 10
_PAUSE: Final = 1
# A delivery over which a worker dies so often is what kills it. Some are not, for a worker also
# has some in its hands that it has not begun with.
_MOST_RETURNS: Final = 10

# The queues of each application that have a receiver.
_QUEUES: Final[WeakKeyDictionary[Celery, set[str]]] = WeakKeyDictionary()


@decodable
class _Message(msgspec.Struct, frozen=True, kw_only=True):
    """What a task carries. Bytes travel as base64.

    attempt: 1 for the first. not_before: unix seconds. failure: why it was given up.
    returns: how often the broker has handed it out again, since its worker was gone.
    """

    delivery: Delivery
    attempt: int = 1
    not_before: float = 0
    returns: int = 0
    failure: str | None = None


class _Attached(NamedTuple):
    """What a receiver brings along."""

    handlers: Handlers
    verifier: Verifier
    observer: Observer | None

    def verify(self, delivery: Delivery) -> None:
        """Verify a delivery once more, as at its receipt. Raises SignatureError."""
        header = parse_header(relevant_headers(delivery.headers).signature)
        self.verifier.verify_parsed(delivery.body, header, now=delivery.received_at)


class CeleryInbox:
    """Hands deliveries to Celery workers: give it to `Receiver(..., inbox=CeleryInbox(app))`.

    app: a Celery application; only its broker is used, no result backend.
    queue: of the broker; what was given up goes to `<queue>.failed`, which no worker reads, and
    stays there until `requeue_failed`. One receiver for each queue.
    idempotency: a RedisStore, so that a delivery which the broker hands out twice, or which came
    twice, is handled once. Without it, at least once. Its lease must be longer than the slowest
    handler takes. The receiver may have the same store: they use different keys.
    max_attempts: calls of the handlers, 1 or more, before a delivery is given up. Between them
    lie 10 s, 20 s, 40 s ... up to 15 minutes, less a random part; or what RetryLater says. One
    that ten workers died over is given up too, whatever its attempts.
    timeout: seconds in which the broker must confirm, more than 0.
    publishers: threads in each process that publish, with a connection each, 1 or more.
    Raises ConfigurationError for anything else, and for an application with task_always_eager.

    May be shared by threads and event loops, and be forked.
    """

    def __init__(
        self,
        app: Celery,
        *,
        queue: str = "karla",
        idempotency: IdempotencyStore | None = None,
        max_attempts: int = 8,
        timeout: float = 0.9,
        publishers: int = 8,
    ) -> None:
        if not isinstance(app, Celery):
            raise ConfigurationError(f"app is a Celery application, not {type(app).__name__}")
        if not isinstance(queue, str) or not queue:
            raise ConfigurationError(f"queue is the name of a queue, not {queue!a}")
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
            raise ConfigurationError(f"timeout is a number of seconds over 0, not {timeout!a}")
        _require_broker(app)
        self._app = app
        self._queue = _durable(queue)
        self._failed = _durable(f"{queue}.failed")
        self._store: IdempotencyStore = _NoStore() if idempotency is None else idempotency
        self._max_attempts = checked_count("max_attempts", max_attempts, least=1)
        self._timeout = timeout
        self._publisher_count = checked_count("publishers", publishers, least=1)
        # One for each process, by its id. A parent's stays in its child, unused, for what is
        # collected there as garbage would close the connections under the parent.
        self._publishers: dict[int, _Publisher] = {}
        self._task: Any = None

    @property
    def key(self) -> Key:
        """The idempotency store's; without one, None: the raw body decides."""
        return self._store.key

    def attach(self, handlers: Handlers, verifier: Verifier, observer: Observer | None) -> None:
        """Same as `Inbox.attach`: make the task that workers run.

        Raises ConfigurationError if another receiver is attached already.
        """
        taken = _QUEUES.setdefault(self._app, set())
        if self._queue.name in taken:
            raise ConfigurationError(
                f"queue {self._queue.name!a} has a receiver already: give each its own inbox and"
                " queue"
            )
        taken.add(self._queue.name)
        attached = _Attached(handlers, verifier, observer)

        def work(content: object) -> None:
            try:
                message = _read(content)
            finally:
                del content  # an error report with local variables would show body and signature
            try:
                self._work(attached, message)
            except Exception as error:
                logger.exception("delivery %s goes back to the broker", message.delivery.key[:16])
                # Or a broker that is half there has it go round as fast as it can.
                time.sleep(_PAUSE)
                raise Reject(type(error).__name__, requeue=True) from error

        self._task = self._app.task(
            name=f"karla_receiver.{self._queue.name}",
            shared=False,  # or other applications of this process would get it too
            # Acknowledged after the handlers, and handed out again if the worker dies over them
            # or Celery's hard time limit ends it.
            acks_late=True,
            reject_on_worker_lost=True,
            acks_on_failure_or_timeout=False,
            ignore_result=True,
            serializer="json",
        )(work)

    # --- the web side ---

    def put(self, delivery: Delivery) -> Novelty:
        """Same as `Inbox.put`, but all is new: a broker does not say whether it knows a key.

        A StorageError may leave a message behind that the broker confirmed too late: the sender
        tries again, and then there are two.
        """
        try:
            future = self._submit(delivery)
            try:
                future.result(self._timeout)
            finally:
                future.cancel()  # if it has not begun, the broker shall not have it later
        except Exception as error:  # noqa: BLE001 - whatever the broker's client raises
            raise _unconfirmed(error) from None
        return Novelty.NEW

    async def put_async(self, delivery: Delivery) -> Novelty:
        """Same as `put`, in one of the publishers' threads."""
        try:
            await asyncio.wait_for(asyncio.wrap_future(self._submit(delivery)), self._timeout)
        except Exception as error:  # noqa: BLE001 - whatever the broker's client raises
            raise _unconfirmed(error) from None
        return Novelty.NEW

    def close(self) -> None:
        """Close the connections of this process; it may go on using the inbox all the same."""
        publisher = self._publishers.pop(os.getpid(), None)
        if publisher is not None:
            publisher.close()

    def _submit(self, delivery: Delivery) -> Future[None]:
        if delivery.problem is None:
            return self._publish(_Message(delivery=delivery), self._queue)
        return self._publish(_Message(delivery=delivery, failure=delivery.problem), self._failed)

    def _publish(self, message: _Message, queue: Queue, wait: float = 0) -> Future[None]:
        _require_broker(self._app)  # which a test may have switched off meanwhile

        def send(producer: Producer) -> None:
            self._task.apply_async(
                args=[msgspec.to_builtins(message)],
                producer=producer,
                queue=queue,
                countdown=wait or None,
                retry=False,
                delivery_mode="persistent",
                mandatory=True,  # a queue that somebody has deleted is an error, and not a hole
                confirm_timeout=self._timeout,
                # What logs and monitors show of the arguments: neither body nor signature.
                argsrepr=f"({message.delivery!r},)",
            )

        fresh = _Publisher(self._app, self._publisher_count, self._timeout)
        return self._publishers.setdefault(os.getpid(), fresh).submit(send)

    # --- the worker's side ---

    def _work(self, attached: _Attached, message: _Message) -> None:
        """Do one task: when this returns, the message is acknowledged."""
        if self._is_returned():
            self._count_return(attached, message)
            return
        wait = message.not_before - time.time()
        if wait > 1:  # it was longer than a message may wait in one go
            self._send_on(message, wait)
            return
        delivery = message.delivery
        try:
            attached.verify(delivery)
            event = parse_event(delivery.body)
        except (SignatureError, PayloadError) as error:
            self._give_up(message, error)
            observing.parked(attached.observer, error.reason)
            return
        message = self._with_proven_keys(message, event)
        delivery = message.delivery
        # Not the key that the receiver claims in the same store before it publishes.
        name = f"handled:{delivery.key}"
        try:
            claim = self._store.claim(name, delivery.occurrence)
        except StorageError:
            logger.warning("a delivery waits for the idempotency store", exc_info=True)
            self._send_on(message, _SHORT_WAIT)
            return
        if claim.state == ClaimState.IN_PROGRESS:  # or its owner has died, and the claim has not
            self._send_on(message, _SHORT_WAIT)
        if claim.state != ClaimState.CLAIMED:
            return
        follow_up: Callable[[], None] | None = None
        try:
            follow_up = self._attempt(attached, message, event)
        except BaseException:  # the process is to end: the broker hands the message out again
            self._settle(self._store.release, name, claim.token)
            raise
        self._settle(self._store.release if follow_up else self._store.done, name, claim.token)
        if follow_up:
            follow_up()

    def _with_proven_keys(self, message: _Message, event: Event) -> _Message:
        # The message's own are not signed: who can write to the broker could have one delivery
        # handled under any number of them. Replaced, not compared: the receiver's store may have
        # another key function than ours, and a deployment may change it.
        delivery = replace(
            message.delivery,
            key=delivery_key(message.delivery.body, event, self.key),
            occurrence=delivery_key(b"", event, occurrence_key),
        )
        return replace(message, delivery=delivery)

    def _is_returned(self) -> bool:
        delivery_info: dict[str, object] = self._task.request.delivery_info or {}
        return bool(delivery_info.get("redelivered"))

    def _count_return(self, attached: _Attached, message: _Message) -> None:
        """Count, in a message of its own, what no broker that Celery knows counts for us."""
        counted = replace(message, returns=message.returns + 1)
        if counted.returns > _MOST_RETURNS:
            error = StorageError(f"{_MOST_RETURNS} workers were gone before they were done with it")
            self._give_up(counted, error)
            observing.parked(attached.observer, Reason.HANDLER_ERROR)
        else:
            self._publish(counted, self._queue).result(self._timeout)

    def _attempt(
        self, attached: _Attached, message: _Message, event: Event
    ) -> Callable[[], None] | None:
        """Call the handlers; return None if that was the end of it, else what is to be done."""
        delivery = message.delivery
        attempt = CURRENT.set(PlainAttempt(delivery.key, message.attempt))
        try:
            with observing.attempt(attached.observer) as seen:
                try:
                    attached.handlers.handle(event, seen)
                except Discard as discard:
                    logs.discarded(discard, event)
                except (RetryLater, DeliveryError) as error:
                    seen.is_parked = self._is_last(message, error)
                    usual = _BACKOFF.wait(message.attempt)
                    wait = error.after if isinstance(error, RetryLater) else usual
                    return partial(self._try_again, message, error, wait)
        finally:
            CURRENT.reset(attempt)
        return None

    def _is_last(self, message: _Message, error: Exception) -> bool:
        # No further attempt would change what does not fit.
        is_misfit = isinstance(error, DeliveryError) and error.reason == Reason.UNDECODABLE_EVENT
        return is_misfit or message.attempt >= self._max_attempts

    def _try_again(self, message: _Message, error: Exception, wait: float) -> None:
        if self._is_last(message, error):
            self._give_up(message, error)
            return
        logger.warning(
            "delivery %s: attempt %d of %d failed, the next is in %.0f s: %s",
            message.delivery.key[:16],
            message.attempt,
            self._max_attempts,
            wait,
            _in_short(error),
            exc_info=error.__cause__,
        )
        self._send_on(replace(message, attempt=message.attempt + 1), wait)

    def _give_up(self, message: _Message, error: Exception) -> None:
        """Keep the message where no worker takes it, for an operator."""
        logger.error(
            "delivery %s is kept in %s after attempt %d: %s",
            message.delivery.key[:16],
            self._failed.name,
            message.attempt,
            _in_short(error),
            exc_info=error.__cause__,
        )
        kept = replace(message, failure=_in_short(error))
        self._publish(kept, self._failed).result(self._timeout)

    def _send_on(self, message: _Message, wait: float) -> None:
        later = replace(message, not_before=time.time() + wait)
        self._publish(later, self._queue, min(wait, _LONGEST_WAIT)).result(self._timeout)

    def _settle(self, verb: Callable[[str, str], None], name: str, token: str) -> None:
        try:
            verb(name, token)
        except StorageError:
            logs.claim_not_settled(name)

    # --- the operator's side ---

    def requeue_failed(self, limit: int | None = None) -> int:
        """Give what was given up its attempts again, oldest first; return how many.

        limit: how many at most; None: all that are there now. Messages that are not deliveries
        stay in the queue; the log says how many.
        Raises StorageError if the broker does not answer, or does not confirm: what was moved
        until then stays moved, and nothing is lost.
        """
        try:
            with _connection(self._app, self._timeout) as connection:
                return self._requeue(self._failed(connection.default_channel), limit)
        except Exception as error:  # noqa: BLE001 - whatever the broker's client raises
            raise _unconfirmed(error) from None

    def _requeue(self, failed: Any, limit: int | None) -> int:
        moved = 0
        strays: list[Any] = []
        for _ in range(failed.queue_declare().message_count):
            found = None if moved == limit else failed.get()
            if found is None:
                break
            message = _read_failed(found)
            if message is None:
                strays.append(found)
                continue
            fresh = replace(message, attempt=1, not_before=0, returns=0, failure=None)
            self._publish(fresh, self._queue).result(self._timeout)
            found.ack()
            moved += 1
        for stray in strays:
            stray.requeue()  # not before: it would be the next to be got
        if strays:
            logger.warning(
                "%d messages in %s are not deliveries and stay there", len(strays), failed.name
            )
        return moved


class _NoStore:
    """Stands in where no idempotency store was given: everything is new."""

    key: Key = None
    blocks = False

    def claim(self, key: str, occurrence: str) -> Claim:
        return Claim(ClaimState.CLAIMED)

    def done(self, key: str, token: str) -> None:
        """Forget it."""

    release = done


class _Publisher:
    """Threads of one process that publish, each over a connection of its own.

    Threads, so that the caller can stop waiting: no time-out of a broker's client covers all.
    """

    def __init__(self, app: Celery, threads: int, timeout: float) -> None:
        self._app = app
        self._timeout = timeout
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="karla-publisher")
        self._local = threading.local()
        self._connections: list[Connection] = []

    def submit(self, send: Callable[[Producer], None]) -> Future[None]:
        return self._executor.submit(self._run, send)

    def close(self) -> None:
        self._executor.shutdown(cancel_futures=True)
        for connection in self._connections:
            connection.collect()

    def _run(self, send: Callable[[Producer], None]) -> None:
        start = time.monotonic()
        is_used = hasattr(self._local, "producer")
        try:
            send(self._producer())
        except Exception as error:  # noqa: BLE001 - the same
            self._drop()
            # A connection may have died while it was idle, and what was declared over it be gone:
            # such an error comes at once. After one that took its time, nobody waits any more.
            if not is_used or time.monotonic() - start > self._timeout / 2:
                raise _unconfirmed(error) from None
            self._run(send)

    def _producer(self) -> Producer:
        if not hasattr(self._local, "producer"):
            connection = _connection(self._app, self._timeout)
            self._connections.append(connection)
            self._local.connection = connection
            self._local.producer = self._app.amqp.Producer(connection)
        producer: Producer = self._local.producer
        return producer

    def _drop(self) -> None:
        connection: Connection | None = self._local.__dict__.pop("connection", None)
        self._local.__dict__.pop("producer", None)
        if connection is not None:
            self._connections.remove(connection)
            connection.collect()  # without a word to the broker, which may not listen


def _connection(app: Celery, timeout: float) -> Connection:
    connect: Any = app.connection_for_write
    kind: str = connect().transport.driver_type
    options = _TRANSPORT_OPTIONS[kind](timeout) if kind in _TRANSPORT_OPTIONS else {}
    connection: Connection = connect(connect_timeout=timeout, transport_options=options)
    # Or the first use would try for seconds, and a publisher be busy long after its caller left.
    at_once: dict[str, Any] = {"interval_start": 0, "interval_step": 0, "timeout": timeout}
    connection.ensure_connection(max_retries=1, **at_once)
    return connection


_TRANSPORT_OPTIONS: Final[dict[str, Callable[[float], dict[str, object]]]] = {
    "amqp": lambda timeout: {
        "confirm_publish": True,
        "read_timeout": timeout,
        "write_timeout": timeout,
    },
    "redis": lambda timeout: {"socket_timeout": timeout, "socket_connect_timeout": timeout},
}


def _require_broker(app: Celery) -> None:
    if app.conf.task_always_eager:
        raise ConfigurationError(
            "with task_always_eager nothing is published, so nothing would be kept: set it to"
            " False, or give the Receiver no inbox in tests"
        )


def _durable(name: str) -> Queue:
    return Queue(name, Exchange(""), routing_key=name, durable=True)


def _read(content: object) -> _Message:
    try:
        return msgspec.convert(content, _Message)
    except msgspec.ValidationError as error:
        # Nothing that this module has written.
        raise Reject(f"not a delivery: {error}", requeue=False) from None
    finally:
        del content  # as in `work`


def _read_failed(found: Any) -> _Message | None:
    """Return the message that a broker's message carries; None if it is not one of ours."""
    try:
        (content,), *_ = found.payload
        return _read(content)
    except Exception:  # noqa: BLE001 - of what somebody else wrote, in whatever encoding
        return None


def _in_short(error: Exception) -> str:
    # What a handler says in RetryLater is quoted: it may be what a customer wrote.
    return logs.quoted(error.reason) if isinstance(error, RetryLater) else str(error)


def _unconfirmed(error: Exception) -> StorageError:
    """Return the error to raise `from None`: frames of the broker's client hold the body."""
    if isinstance(error, StorageError):
        return error
    return StorageError(f"the broker did not confirm: {type(error).__name__}: {error}")
