"""The application of the demo: a receiver whose handlers only tell a witness what they were given.

The witness also reads the receiver's log, since most reasons for refusal are nowhere else: an
answer to a stranger does not tell them.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager

from karla_receiver import ClaimEvent, Event, Receiver, ShipmentEvent, UnknownEvent
from karla_receiver.cli.deliveries import FAILING_REF, MAX_BODY_BYTES
from karla_receiver.observing.logs import logger

__all__ = ["Shop", "Witness", "attached"]


class Witness(logging.Handler):
    """Keeps what happens inside the server: the reasons in the log, the events in handlers.

    Before a request it is cleared, and read when the answer is there: by then the receiver has
    logged and the handlers have returned.
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

    def clear(self) -> None:
        """Forget everything."""
        self.reasons.clear()
        self.events.clear()

    @contextmanager
    def listening(self) -> Generator[None]:
        """Read the receiver's log, which then goes nowhere else."""
        with attached(logger, self):
            yield


@contextmanager
def attached(log: logging.Logger, handler: logging.Handler) -> Generator[None]:
    """Give what is logged to handler alone, so that nothing of it gets between the demo's rows."""
    propagate = log.propagate
    log.addHandler(handler)
    log.propagate = False
    try:
        yield
    finally:
        log.propagate = propagate
        log.removeHandler(handler)


class Shop:
    """A receiver with handlers for shipments and claims, one of which always fails.

    receiver: to be served; `take_rest` is not registered with it, for in Flask that is the view.
    """

    def __init__(self, secret: str, witness: Witness) -> None:
        self._witness = witness
        self.receiver: Receiver = Receiver(secret, max_body_bytes=MAX_BODY_BYTES)
        self.receiver.on("shipments")(self._take_shipment)
        self.receiver.on("claims")(self._take_claim)
        self.receiver.on(FAILING_REF)(self._fail)

    def _take_shipment(self, event: ShipmentEvent) -> None:
        self._witness.note(event)

    def _take_claim(self, event: ClaimEvent) -> None:
        self._witness.note(event)

    def _fail(self, event: ShipmentEvent) -> None:
        raise RuntimeError(f"the demo's handler fails for every {event.ref}")

    def take_rest(self, event: Event) -> None:
        """Take any event; only those that are of no known kind are news."""
        if isinstance(event, UnknownEvent):
            self._witness.note(event)
