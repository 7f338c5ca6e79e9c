"""What a handler may ask about the delivery it is handling: its key, its attempt, a transaction."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Final, Protocol

import msgspec

from karla_receiver.errors import ConfigurationError

__all__ = ["CURRENT", "Attempt", "PlainAttempt", "current_attempt"]


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


CURRENT: Final[ContextVar[Attempt]] = ContextVar("karla_receiver.attempt")


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
