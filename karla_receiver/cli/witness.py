"""The demo's witness: it sees what comes of a delivery, on the wire and inside the server.

It reads the receiver's log, since most reasons for refusal are nowhere else: an answer to a
stranger does not tell them.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx2

from karla_receiver import Event, Reason, parse_event
from karla_receiver.cli.deliveries import NamedDelivery
from karla_receiver.cli.exchange import Exchange, deliver
from karla_receiver.cli.server import attached
from karla_receiver.errors import STATUS
from karla_receiver.observing.logs import logger
from karla_receiver.request import SUCCESS

__all__ = ["Rehearsal", "Result", "Witness", "documented_result"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a delivery, on the wire and inside the server.

    status: of the answer; None if there was none.
    reasons: what the receiver logged: one for a refusal, none for a success.
    events: what handlers were called with.
    """

    status: int | None
    reasons: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()


def documented_result(delivery: NamedDelivery) -> Result:
    """Return what must come of a delivery."""
    reason, body = delivery.request.reason, delivery.request.body
    if reason is None:
        return Result(status=SUCCESS.status, events=(parse_event(body),))
    # Of what is refused, a handler sees only that which it fails for itself.
    events = (parse_event(body),) if reason is Reason.HANDLER_ERROR else ()
    return Result(status=STATUS[reason], reasons=(reason,), events=events)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """An exchange with the demo's server, and its result."""

    exchange: Exchange
    result: Result

    @property
    def documented(self) -> Result:
        """The result that is documented."""
        return documented_result(self.exchange.delivery)

    @property
    def is_documented(self) -> bool:
        """Whether the result is exactly the documented one."""
        return self.result == self.documented


class Witness(logging.Handler):
    """Keeps what happens inside the server: the reasons in the log, the events in handlers.

    It is read when the answer is there: by then the receiver has logged and the handlers have
    returned.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reasons: list[str] = []
        self.events: list[Event] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the reason of a refusal."""
        reason: str | None = getattr(record, "reason", None)
        if reason is not None:
            self.reasons.append(reason)

    def note(self, event: Event) -> None:
        """Keep an event that a handler was called with."""
        self.events.append(event)

    def deliver(self, client: httpx2.Client, url: str, delivery: NamedDelivery) -> Rehearsal:
        """Send a delivery to the server, and return it with what came of it."""
        self.reasons.clear()
        self.events.clear()
        exchange = deliver(client, url, delivery)
        reasons, events = tuple(self.reasons), tuple(self.events)
        result = Result(status=exchange.status, reasons=reasons, events=events)
        return Rehearsal(exchange=exchange, result=result)

    @contextmanager
    def listening(self) -> Generator[None]:
        """Read the receiver's log, which then goes nowhere else."""
        with attached(logger, self):
            yield
