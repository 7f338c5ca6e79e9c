"""What makes two deliveries the same one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from karla_receiver.errors import ConfigurationError
from karla_receiver.events import ClaimEvent, Event, ShipmentEvent, sent_data
from karla_receiver.observing import logs

if TYPE_CHECKING:
    from karla_receiver.idempotency.protocol import Key

__all__ = ["delivery_key", "occurrence_key"]


def delivery_key(body: bytes, event: Event | None, key: Key) -> str:
    """Return the idempotency key of a delivery: 64 hex digits, whatever the parts are.

    key: the store's; without one, and for a body that is no event, the raw body decides.
    The raw body decides too, and the log says so, if key raises, or returns anything but text of
    at least one character: an empty key would make all events the same one.
    """
    name = None if key is None or event is None else _chosen(key, event)
    content = body if name is None else name.encode("utf-8", "surrogatepass")
    return hashlib.sha256(content).hexdigest()


def _chosen(key: Callable[[Event], str], event: Event) -> str | None:
    # Apart from the body: a report of the error may show the local variables of this frame.
    try:
        return _checked(key(event))
    except Exception:  # noqa: BLE001 - logged, with its traceback
        logs.key_function_failed(event)
        return None


def _checked(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise ConfigurationError(
            f"a key function returns text, 1 character or more, not {type(name).__name__}"
        )
    return name


def occurrence_key(event: Event) -> str:
    """Return what happened, whatever else the delivery tells: an idempotency key to choose.

    Shop, ref, group, shipment or claim, and the event's id if it has one, else when that was
    updated. Two deliveries of one occurrence may differ in their context. An event that lacks
    one of these is told apart by all that it says, as a digest: nothing personal is in a key.
    Two changes with one time of update, in whole seconds in every known sample, are one
    occurrence: who cannot have that takes the raw body as the key, which is the default.
    """
    data = sent_data(event)
    subject: str | None = None
    if isinstance(event, ShipmentEvent):
        subject = event.shipment_id
    elif isinstance(event, ClaimEvent):
        subject = event.claim_id
    event_id = data.get("event_id")
    updated_at = data.get("updated_at")
    if event.ref and subject and _is_text(event_id):
        moment = ["event", event_id]
    elif event.ref and subject and _is_text(updated_at):
        moment = ["occurrence", updated_at]
    else:
        # A key that merges two different events loses one: nothing is left out here.
        content = msgspec.json.encode(event.raw, order="sorted")
        return _text(["content", hashlib.sha256(content).hexdigest()])
    # With an event's id too: who says that one id is not used for each parcel of an order?
    shop = event.raw.get("shop_id") or event.raw.get("shop_slug")
    return _text([*moment, event.ref, subject, shop, event.event_group])


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _text(parts: list[object]) -> str:
    return msgspec.json.encode(parts, order="sorted").decode()
