"""What a handler may say, and what it may ask: Discard, RetryLater, and its attempt."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final, Protocol, TypeAlias

import msgspec

from karla_receiver.errors import ConfigurationError

__all__ = [
    "CURRENT",
    "Attempt",
    "Discard",
    "Handler",
    "Outcome",
    "PlainAttempt",
    "RetryLater",
    "current_attempt",
]

# Any, because a handler names the type of event that its pattern promises.
Handler: TypeAlias = Callable[[Any], object]

# A day: a longer wait is a schedule, which belongs into the application.
_LONGEST_WAIT_SECONDS = 86_400
_LONGEST_REASON = 200


class Outcome(Exception):  # noqa: N818 - not an error: it is raised to leave the handler
    """The parent of the two outcomes below.

    reason: for the log, as text of at most 200 characters.
    """

    reason: str = ""


class RetryLater(Outcome):
    """Handle this delivery again later: what it needs is not there yet.

    after: seconds to wait, 0 to 86400. Without an inbox the answer is 503 with that Retry-After;
    with one the delivery waits in it, and the attempt counts.
    reason: for the log.
    """

    after: float = 60  # of a subclass that does not call this one's __init__

    def __init__(self, after: float = 60, reason: str = "") -> None:
        if (
            isinstance(after, bool)
            or not isinstance(after, int | float)
            or not 0 <= after <= _LONGEST_WAIT_SECONDS
        ):
            raise ConfigurationError(
                f"RetryLater takes seconds, 0 to {_LONGEST_WAIT_SECONDS}, not {after!a}"
            )
        super().__init__(after, reason)
        self.after = after
        self.reason: str = _told(reason)

    @property
    def retry_after(self) -> int:
        """The same in whole seconds, as the Retry-After header has it (RFC 9110, 10.2.3)."""
        return math.ceil(self.after)


class Discard(Outcome):
    """Do nothing with this delivery, now and ever: it is acknowledged, and counts as handled.

    reason: for the log.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason: str = _told(reason)


def _told(reason: object) -> str:
    # Often it is a field of the event, or an error: it must not fail where it is logged or kept.
    # Bytes as repr shows them, as str would, but str is an error for them under -bb.
    text = repr(reason) if isinstance(reason, bytes) else str(reason)
    return text.encode(errors="replace").decode()[:_LONGEST_REASON]


class Attempt(Protocol):
    """One call of the handlers for one delivery."""

    @property
    def key(self) -> str:
        """The idempotency key: stable over retries, to hand to other systems as theirs."""
        ...

    @property
    def number(self) -> int:
        """1 for the first attempt that this inbox or request makes."""
        ...

    @property
    def transaction(self) -> Any:
        """A connection with an open transaction, in which the delivery is marked as handled.

        What the handler writes on it takes effect together with that mark, or not at all. It is
        begun when it is first asked for. Raises ConfigurationError where there is none: only an
        inbox in a database has one.
        """
        ...


class PlainAttempt(msgspec.Struct, frozen=True):
    """An attempt in no transaction: of a request without an inbox, or of a broker's task."""

    key: str
    number: int = 1

    @property
    def transaction(self) -> Any:
        raise ConfigurationError("only an inbox in a database has a transaction to hand out")


CURRENT: Final[ContextVar[Attempt]] = ContextVar("karla_receiver.outcomes")


def current_attempt() -> Attempt:
    """Return the attempt that the running handler is part of.

    Raises ConfigurationError outside of a handler, in one of a receiver that has neither an
    idempotency store nor an inbox, and in a thread of the handler's own without its context.
    """
    try:
        return CURRENT.get()
    except LookupError:
        raise ConfigurationError(
            "no delivery is being handled here, or its receiver has neither an idempotency store"
            " nor an inbox. In a thread that the handler starts, or in its pool, the context is not"
            " there by itself: submit contextvars.copy_context().run, and the function to it"
        ) from None
