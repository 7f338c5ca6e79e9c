"""What the commands send: deliveries with a name, genuine ones and those that must be refused."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from karla_receiver import Reason, samples
from karla_receiver.testing.deliveries import BadKind, Delivery, bad_delivery, signed_delivery

__all__ = [
    "FAILING_REF",
    "MAX_BODY_BYTES",
    "NamedDelivery",
    "all_deliveries",
    "bad",
    "genuine",
    "genuine_deliveries",
    "refused_deliveries",
]

# The demo's receiver takes no longer body. Small, so that socket buffers hold the whole body that
# is too long: the server answers before it has read it all.
MAX_BODY_BYTES: Final = 65_536

# An event of this ref meets a handler that raises.
FAILING_REF: Final = "shipments/order_processed/HANDLER_RAISES"


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedDelivery:
    """A delivery as the commands show it.

    name: for programs; sent: for people, what is special about it. label: which of those of one
    name, where they differ.
    request: what goes over the wire, and the reason for which it must be refused.
    """

    name: str
    sent: str
    label: str | None = None
    request: Delivery


def genuine(name: str, body: bytes, secret: str, *, now: int | None = None) -> NamedDelivery:
    """Return a body, signed as Karla signs. now: unix seconds; the present time if left out."""
    request = signed_delivery(body, secret, timestamp=now)
    return NamedDelivery(name=name, sent=name, request=request)


def bad(
    kind: BadKind,
    body: bytes,
    secret: str,
    *,
    now: int | None = None,
    max_body_bytes: int = 1_048_576,
) -> NamedDelivery:
    """Return a body in a delivery that must be refused; see `bad_delivery`."""
    request = bad_delivery(kind, body, secret, now=now, max_body_bytes=max_body_bytes)
    return NamedDelivery(name=kind, sent=_SENT[kind], request=request)


def all_deliveries(secret: str, *, now: int) -> tuple[NamedDelivery, ...]:
    """Return everything that the demo sends, in order.

    secret: of the webhook; now: unix seconds, by the receiver's clock.
    """
    return (*genuine_deliveries(secret, now=now), *refused_deliveries(secret, now=now))


def genuine_deliveries(secret: str, *, now: int) -> Iterator[NamedDelivery]:
    """Return every sample, correctly signed."""
    for name in samples.names():
        yield genuine(name, samples.read(name), secret, now=now)


def refused_deliveries(secret: str, *, now: int) -> Iterator[NamedDelivery]:
    """Return one delivery for each thing that can be wrong with one, in the demo's handlers too."""
    body = samples.read("shipment_delivered")
    for kind in BadKind:
        yield bad(kind, body, secret, now=now, max_body_bytes=MAX_BODY_BYTES)
    yield from _genuine_but_unhandled(body, secret, now)


def _genuine_but_unhandled(body: bytes, secret: str, now: int) -> Iterator[NamedDelivery]:
    event = json.loads(body)
    unfitting = {**event, "event_data": {"phase": "delivered"}}
    failing = {**event, "ref": FAILING_REF}
    for name, sent, changed, reason in (
        ("unfitting", "a shipment without shipment_id", unfitting, Reason.UNDECODABLE_EVENT),
        ("failing", "an event whose handler raises", failing, Reason.HANDLER_ERROR),
    ):
        signed = signed_delivery(json.dumps(changed).encode(), secret, timestamp=now)
        yield NamedDelivery(name=name, sent=sent, request=replace(signed, reason=reason))


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
