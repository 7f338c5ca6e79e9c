"""What the demo sends: every sample, signed as Karla signs, and then what must be refused."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from karla_receiver import Reason, samples, sign
from karla_receiver.testing.deliveries import BadKind, bad_delivery
from karla_receiver.testing.deliveries import Delivery as BadDelivery

__all__ = [
    "FAILING_REF",
    "MAX_BODY_BYTES",
    "Delivery",
    "all_deliveries",
    "described",
    "genuine_deliveries",
    "refused_deliveries",
]

# The demo's receiver takes no longer body. Small, so that socket buffers hold the whole body that
# is too long: the server answers before it has read it all.
MAX_BODY_BYTES: Final = 65_536

# An event of this ref meets a handler that raises.
FAILING_REF: Final = "shipments/order_processed/HANDLER_RAISES"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One request, and what is documented to come of it.

    name: for programs; sent: for people, what is special about it. label: which of those of one
    name, where they differ.
    signature: the header's value; None for a request without it.
    reason: why it must be refused; None if it must be handled.
    """

    name: str
    sent: str
    label: str | None = None
    method: str = "POST"
    body: bytes = field(repr=False)
    content_type: str = "application/json"
    signature: str | None = field(repr=False)
    reason: Reason | None


def all_deliveries(secret: str, *, now: int) -> tuple[Delivery, ...]:
    """Return everything that the demo sends, in order.

    secret: of the webhook; now: unix seconds, by the receiver's clock.
    """
    return (*genuine_deliveries(secret, now=now), *refused_deliveries(secret, now=now))


def genuine_deliveries(secret: str, *, now: int) -> Iterator[Delivery]:
    """Return every sample, correctly signed."""
    for name in samples.names():
        body = samples.read(name)
        signature = sign(body, secret, timestamp=now)
        yield Delivery(name=name, sent=name, body=body, signature=signature, reason=None)


def refused_deliveries(secret: str, *, now: int) -> Iterator[Delivery]:
    """Return one delivery for each thing that can be wrong with one, in the demo's handlers too."""
    body = samples.read("shipment_delivered")
    for kind in BadKind:
        yield described(
            kind, bad_delivery(kind, body, secret, now=now, max_body_bytes=MAX_BODY_BYTES)
        )
    yield from _genuine_but_unhandled(body, secret, now)


def described(kind: BadKind, bad: BadDelivery) -> Delivery:
    """Return a bad delivery as the commands show one."""
    return Delivery(
        name=kind,
        sent=_SENT[kind],
        method=bad.method,
        body=bad.body,
        signature=bad.signature,
        reason=bad.reason,
    )


def _genuine_but_unhandled(body: bytes, secret: str, now: int) -> Iterator[Delivery]:
    event = json.loads(body)
    unfitting = _json({**event, "event_data": {"phase": "delivered"}})
    failing = _json({**event, "ref": FAILING_REF})
    for name, sent, signed_body, reason in (
        ("unfitting", "a shipment without shipment_id", unfitting, Reason.UNDECODABLE_EVENT),
        ("failing", "an event whose handler raises", failing, Reason.HANDLER_ERROR),
    ):
        signature = sign(signed_body, secret, timestamp=now)
        yield Delivery(name=name, sent=sent, body=signed_body, signature=signature, reason=reason)


def _json(event: object) -> bytes:
    return json.dumps(event).encode()


_SENT: Final[Mapping[BadKind, str]] = MappingProxyType(
    {
        BadKind.FORGED: "signed with another secret",
        BadKind.ALTERED: "a byte added after signing",
        BadKind.RESERIALISED: "same JSON, serialised anew",
        BadKind.LATE: "signed an hour ago",
        BadKind.REDATED: "signed an hour ago, dated anew",
        BadKind.EARLY: "signed an hour ahead",
        BadKind.UNSIGNED: "no signature header",
        BadKind.MALFORMED_HEADER: "a semicolon in the header",
        BadKind.ONLY_V0: "v0 in the header, no v1",
        BadKind.OVERSIZED: "a byte over the size limit",
        BadKind.GET: "GET instead of POST",
        BadKind.NOT_JSON: "signed, but not JSON",
        BadKind.NOT_AN_OBJECT: "signed, but a JSON list",
        BadKind.WITHOUT_EVENT_GROUP: "signed, without event_group",
    }
)
