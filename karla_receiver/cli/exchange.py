"""Sending one delivery, and comparing what came of it with what is documented."""

from __future__ import annotations

import time
from dataclasses import dataclass

import httpx2

from karla_receiver import Event, Reason, parse_event
from karla_receiver.cli.deliveries import Delivery
from karla_receiver.cli.shop import Witness
from karla_receiver.errors import STATUS
from karla_receiver.request import SUCCESS
from karla_receiver.signature import HEADER

__all__ = ["Exchange", "Result", "deliver", "documented_result"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a delivery.

    status: of the answer; None if there was none.
    reasons: what the receiver logged: one for a refusal, none for a success.
    events: what handlers were called with.
    """

    status: int | None
    reasons: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A delivery and its result."""

    delivery: Delivery
    result: Result
    seconds: float

    @property
    def is_documented(self) -> bool:
        """Whether the result is exactly the documented one."""
        return self.result == documented_result(self.delivery)


def documented_result(delivery: Delivery) -> Result:
    """Return what must come of a delivery."""
    reason = delivery.reason
    if reason is None:
        return Result(status=SUCCESS.status, events=(parse_event(delivery.body),))
    # Of what is refused, a handler sees only that which it fails for itself.
    events = (parse_event(delivery.body),) if reason is Reason.HANDLER_ERROR else ()
    return Result(status=STATUS[reason], reasons=(reason,), events=events)


def deliver(client: httpx2.Client, url: str, delivery: Delivery, witness: Witness) -> Exchange:
    """Send a delivery and return what came of it, on the wire and inside the server."""
    witness.clear()
    started = time.perf_counter()
    status = _send(client, url, delivery)
    seconds = time.perf_counter() - started
    reasons, events = tuple(witness.reasons), tuple(witness.events)
    result = Result(status=status, reasons=reasons, events=events)
    return Exchange(delivery=delivery, result=result, seconds=seconds)


def _send(client: httpx2.Client, url: str, delivery: Delivery) -> int | None:
    headers = {"Content-Type": "application/json"}
    if delivery.signature is not None:
        headers[HEADER] = delivery.signature
    try:
        answer = client.request(delivery.method, url, content=delivery.body, headers=headers)
    except httpx2.TransportError:
        return None  # a result like any other, if never the documented one
    return answer.status_code
