"""One attempt: the handlers called for one delivery, and what becomes of it."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, cast

from karla_receiver import observing
from karla_receiver.decoding import parse_event
from karla_receiver.errors import DeliveryError, PayloadError, Reason, StorageError
from karla_receiver.handlers import Handlers
from karla_receiver.inbox.backoff import Backoff
from karla_receiver.inbox.rows import Settlement, State, Taken
from karla_receiver.observing import Observation, Observer
from karla_receiver.observing.logs import logger, quoted
from karla_receiver.outcomes import CURRENT, Discard, RetryLater
from karla_receiver.sqlite.file import Session, SQLiteFile
from karla_receiver.sqlite.writer import Writer

__all__ = ["Attempts"]

_PARKED: Final = {State.FAILED, State.QUARANTINED}


def _authorizer(connection: sqlite3.Connection) -> Callable[..., int]:
    """Return what keeps a handler within its transaction, as one with the mark.

    It may not end the transaction; nor write once `INSERT OR ROLLBACK` has ended it, which SQLite
    does without asking: that would be committed statement by statement.
    """

    def authorize(action: int, *_: object) -> int:
        is_ours = action != sqlite3.SQLITE_TRANSACTION and connection.in_transaction
        return sqlite3.SQLITE_OK if is_ours else sqlite3.SQLITE_DENY

    return authorize


_BEGIN_HANDLER: Final = "SAVEPOINT karla_handler"
_END_HANDLER: Final = "RELEASE karla_handler"
_UNDO_HANDLER: Final = "ROLLBACK TO karla_handler"


class _Attempt:
    """What a handler sees of its attempt; see `karla_receiver.outcomes.Attempt`."""

    def __init__(self, taken: Taken, writer: Writer) -> None:
        self.key = taken.key
        self.number = taken.attempts
        self.session: Session | None = None
        self._writer = writer

    @property
    def transaction(self) -> Any:
        if self.session is None:
            self.session = self._writer.reserve()
            connection = self.session.connection
            connection.set_authorizer(_authorizer(connection))
            connection.execute(_BEGIN_HANDLER)
        return self.session.connection

    def after_handler(self, error: Exception | None) -> None:
        """Undo what a handler wrote that discards the delivery: another's effect stands."""
        if self.session is None:
            return
        connection = self.session.connection
        with suppress(sqlite3.ProgrammingError):  # closed: the attempt fails, in the end
            if error is None and connection.in_transaction:
                connection.execute(_END_HANDLER)
                connection.execute(_BEGIN_HANDLER)
            elif isinstance(error, Discard) and connection.in_transaction:
                connection.execute(_UNDO_HANDLER)


class Attempts:
    """Makes attempts, for a worker's threads."""

    def __init__(
        self,
        file: SQLiteFile,
        writer: Writer,
        handlers: Handlers,
        observer: Observer | None,
        *,
        limit: int,
        backoff: Backoff,
        clock: Callable[[], float],
    ) -> None:
        self._file = file
        self._writer = writer
        self._handlers = handlers
        self._observer = observer
        self._limit: Final = limit
        self._backoff = backoff
        self._clock = clock

    def make(self, taken: Taken) -> Settlement | None:
        """Call the handlers; return what is to be noted, or None if that has been done.

        Raises nothing: whatever a handler raises is a failed attempt of this delivery alone, and
        whatever an observer raises is nothing.
        """
        with observing.attempt(self._observer, BaseException) as seen:
            try:
                settlement = self._make(taken, seen)
            except BaseException as error:  # noqa: BLE001 - an odd exception's own text, a clock
                settlement = self._unforeseen(taken, error, seen)
            seen.is_parked = settlement is not None and settlement.state in _PARKED
        return settlement

    def tell_parked(self, number: int) -> None:
        """Tell the observer of deliveries that are kept as failed because their workers died."""
        for _ in range(number):
            observing.parked(self._observer, Reason.HANDLER_ERROR, BaseException)

    def _make(self, taken: Taken, seen: Observation) -> Settlement | None:
        attempt = _Attempt(taken, self._writer)
        token = CURRENT.set(attempt)
        is_settled = False
        try:
            outcome = self._outcome(taken, attempt, seen)
            is_settled = True
        finally:
            CURRENT.reset(token)
            if attempt.session is not None and not is_settled:
                self._writer.hand_back()
        if attempt.session is None:
            return outcome
        return self._settle_with_effect(attempt.session, taken, outcome, seen)

    def _unforeseen(self, taken: Taken, error: BaseException, seen: Observation) -> Settlement:
        seen.reason = Reason.HANDLER_ERROR
        # By none of what may have raised: clock, backoff and the error's own text.
        with suppress(Exception):
            logger.error(
                "delivery %s is kept as failed: %s while its attempt was settled",
                taken.key[:16],
                type(error).__qualname__,
            )
        return _settled(taken, State.FAILED, type(error).__qualname__)

    def _outcome(self, taken: Taken, attempt: _Attempt, seen: Observation) -> Settlement:
        try:
            self._handlers.handle(parse_event(taken.body), seen, attempt.after_handler)
        except RetryLater as postponed:
            return self._again(taken, postponed.after, postponed.reason or "RetryLater")
        except Discard as discard:
            logger.info("delivery %s was discarded: %s", taken.key[:16], quoted(discard.reason))
            return _settled(taken, State.DONE, f"discarded: {discard.reason}")
        except PayloadError as error:
            seen.reason = error.reason
            return _settled(taken, State.QUARANTINED, str(error))
        except DeliveryError as error:
            if error.reason == Reason.UNDECODABLE_EVENT:
                logger.error("delivery %s does not fit its handler: %s", taken.key[:16], error)
                return _settled(taken, State.FAILED, str(error))
            return self._failed(taken, error)
        except BaseException as error:  # noqa: BLE001 - SystemExit ends no worker, nor does a bug
            seen.reason = Reason.HANDLER_ERROR
            return self._failed(taken, error)
        return _settled(taken, State.DONE, None)

    def _failed(self, taken: Taken, error: BaseException) -> Settlement:
        cause = error.__cause__ or error
        wait = self._backoff.wait(taken.attempts)
        settlement = self._again(taken, wait, _named(cause))
        if settlement.state == State.FAILED:
            level, fate = logging.ERROR, "and is kept as failed"
        else:
            level, fate = logging.WARNING, f"next in {wait:.0f} s"
        logger.log(
            level,
            "attempt %d of %d at delivery %s failed, %s",
            taken.attempts,
            self._limit,
            taken.key[:16],
            fate,
            exc_info=cause,
        )
        return settlement

    def _again(self, taken: Taken, seconds: float, note: str) -> Settlement:
        if taken.attempts >= self._limit:
            return _settled(taken, State.FAILED, note)
        due = self._clock() + seconds
        return Settlement(id=taken.id, take=taken.take, state=State.WAITING, due=due, note=note)

    def _settle_with_effect(
        self, session: Session, taken: Taken, outcome: Settlement, seen: Observation
    ) -> Settlement | None:
        """Commit what the handler wrote and the mark together, or neither."""
        try:
            self._end_handling(session)
            has_effect = outcome.state == State.DONE
            if has_effect:
                self._commit(session, taken, outcome)
        except StorageError as error:
            # Whether the commit counted is unknown: if it did, the note has no effect.
            seen.reason = Reason.UNAVAILABLE
            return self._failed(taken, error)
        finally:
            self._writer.hand_back()
        return None if has_effect else outcome

    def _end_handling(self, session: Session) -> None:
        try:
            session.connection.set_authorizer(None)
        except sqlite3.Error as error:
            raise StorageError(f"the handler closed its transaction: {error}") from None

    def _commit(self, session: Session, taken: Taken, outcome: Settlement) -> None:
        if not session.connection.in_transaction:
            raise StorageError("a statement of the handler has rolled its transaction back")
        try:
            is_ours = outcome.apply(session.connection, self._clock())
        except sqlite3.Error as error:
            raise self._file.failure(error) from error
        if is_ours:
            self._file.commit(session)
        else:
            logger.warning(
                "delivery %s was taken over while its handler ran: its effect is undone",
                taken.key[:16],
            )


def _settled(taken: Taken, state: State, note: str | None) -> Settlement:
    return Settlement(id=taken.id, take=taken.take, state=state, note=note)


def _named(error: BaseException) -> str:
    """Name an error for the list; its text may hold personal data, and is in the log."""
    if isinstance(error, StorageError):
        return str(error)
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return ", ".join(map(_named, group.exceptions))
    return type(error).__qualname__
