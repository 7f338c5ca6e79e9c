"""What makes two deliveries the same one."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from karla_receiver.events import ClaimEvent, Event, JSONObject, ShipmentEvent

if TYPE_CHECKING:
    from karla_receiver.idempotency.protocol import Key

__all__ = ["delivery_key", "occurrence_key"]


def delivery_key(body: bytes, event: Event | None, key: Key) -> str:
    """Return the idempotency key of a delivery: 64 hex digits, whatever the parts are.

    key: the store's; without one, and for a body that is no event, the raw body decides.
    """
    if key is None or event is None:
        return hashlib.sha256(body).hexdigest()
    return hashlib.sha256(key(event).encode("utf-8", "surrogatepass")).hexdigest()


def occurrence_key(event: Event) -> str:
    """Return what happened, whatever else the delivery tells: an idempotency key to choose.

    The event's id if it has one; else shop, ref, group, shipment or claim, and when that was
    updated. Two deliveries of one occurrence may differ in their context. An event that lacks
    one of these is told apart by all that it says.
    """
    data: JSONObject = event.raw.get("event_data") or {}
    subject: str | None = None
    if isinstance(event, ShipmentEvent):
        subject = event.shipment_id
    elif isinstance(event, ClaimEvent):
        subject = event.claim_id
    event_id = data.get("event_id")
    updated_at = data.get("updated_at")
    scope = [event.raw.get("shop_id") or event.raw.get("shop_slug"), event.event_group]
    if isinstance(event_id, str) and event_id:
        parts = ["event", event_id, *scope]
    elif event.ref and subject and isinstance(updated_at, str) and updated_at:
        parts = ["occurrence", event.ref, subject, updated_at, *scope]
    else:
        # A key that merges two different events loses one: nothing is left out here.
        parts = ["content", event.raw]
    return msgspec.json.encode(parts, order="sorted").decode()
