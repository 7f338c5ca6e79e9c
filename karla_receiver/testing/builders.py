"""Builders of events, valid by construction: made from real shapes, every field can be set.

A field is named as Karla names it. What Karla does not document has to be asked for, so that a
misspelt name cannot pass for a test.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from karla_receiver import samples
from karla_receiver.decoding import parse_event
from karla_receiver.errors import ConfigurationError
from karla_receiver.events import (
    Claim,
    ClaimEvent,
    Customer,
    Event,
    JSONObject,
    Order,
    Shipment,
    ShipmentEvent,
)
from karla_receiver.testing.deliveries import (
    BadKind,
    Delivery,
    bad_delivery,
    signed_delivery,
)
from karla_receiver.testing.json_values import is_object
from karla_receiver.testing.kinds import DRAFTS, RETURNS, kind_of_shipment
from karla_receiver.testing.paths import check_value, names_of, set_value
from karla_receiver.vocabulary import EventGroup, Phase

__all__ = [
    "BuiltEvent",
    "claim_created",
    "claim_updated",
    "from_sample",
    "shipment_event",
    "unknown_event",
]

_ENVELOPE: Final = frozenset(
    {"source", "ref", "version", "triggered_at", "event_group", "shop_slug", "shop_id"}
)
# What the context's own record of a shipment or claim repeats.
_REPEATED: Final = MappingProxyType(
    {
        "shipments": (
            "shipment_id",
            "tracking_number",
            "carrier_reference",
            "tracking_url",
            "phase",
            "direction",
            "updated_at",
        ),
        "claims": ("reason", "status", "resolution_preference", "created_at", "updated_at"),
    }
)

# Text that contains another field's.
_CONTAINED: Final = MappingProxyType(
    {
        "event_data.tracking_number": "event_data.tracking_url",
        "context.order.order_number": "context.order.order_name",
        "context.customer.email": "context.order.email_id",
    }
)
_TIMES: Final = ("event_data.updated_at", "triggered_at")


@dataclass(frozen=True, slots=True)
class BuiltEvent:
    """An event as Karla would send it.

    body: the raw bytes: what is signed and sent.
    """

    body: bytes

    @property
    def event(self) -> Event:
        """The event as a handler is given it."""
        return parse_event(self.body)

    @property
    def raw(self) -> JSONObject:
        """The decoded JSON: a copy of one's own."""
        raw: JSONObject = json.loads(self.body)
        return raw

    def set(self, path: str, value: object, *, undocumented: bool = False) -> BuiltEvent:
        """Return the same event with one value replaced.

        path: the names from the envelope down, with dots between, as in
        "context.order.products.0.title"; a number is a place in a list.
        undocumented: whether the path may be one that Karla does not document, or the value of
        another type. Missing objects on the way are made.
        Raises ConfigurationError for a path or value that the documented types do not have.
        """
        raw = self.raw
        set_value(raw, path, value)
        return _built(raw, {} if undocumented else {path: value})

    def signed(self, secret: str | bytes, *, timestamp: int | None = None) -> Delivery:
        """Return the delivery of this event, as in `signed_delivery`."""
        return signed_delivery(self.body, secret, timestamp=timestamp)

    def bad(self, kind: BadKind | str, secret: str | bytes, *, now: int | None = None) -> Delivery:
        """Return a delivery of this event that must be refused, as in `bad_delivery`."""
        return bad_delivery(kind, self.body, secret, now=now)

    def __repr__(self) -> str:
        return f"<BuiltEvent {self.event!r}>"


def shipment_event(
    phase: Phase | str | None = None,
    *,
    event_group: EventGroup | str | None = None,
    undocumented: Mapping[str, object] | None = None,
    **fields: object,
) -> BuiltEvent:
    """Build a shipment's event: of a phase, of an event group, or of both; delivered if of none.

    phase: as in `Phase`; another text is a phase that Karla may add.
    event_group: as in `EventGroup`; without a phase it decides that one too, where it is known.
    fields: of the envelope, of event_data, of the order or of the customer, whichever has one of
    that name, looked for in this order. `ref`, `event_name` and what the context repeats follow
    from the others unless they are given. A datetime must be aware.
    undocumented: values by path, as in `BuiltEvent.set`, that Karla does not document.
    Raises ConfigurationError for an unknown field, or a value that is not of the field's type or
    has no form in JSON.
    """
    place, name, group = kind_of_shipment(phase, event_group)
    raw = _sample("shipment_pre_transit_draft" if place in DRAFTS else "shipment_delivered")
    data: JSONObject = raw["event_data"]
    data.update(phase=place, event_name=name, event_group=group)
    if place in RETURNS:
        data["direction"] = "customer_merchant"
    raw["event_group"] = group
    return _finished(raw, Shipment, fields, undocumented)


def claim_created(
    *, undocumented: Mapping[str, object] | None = None, **fields: object
) -> BuiltEvent:
    """Build the event of a new claim. Fields and errors as in `shipment_event`."""
    return _finished(_sample("claim_created"), Claim, fields, undocumented)


def claim_updated(
    *, undocumented: Mapping[str, object] | None = None, **fields: object
) -> BuiltEvent:
    """Build the event of a claim that was decided on. Fields and errors as in `shipment_event`."""
    return _finished(_sample("claim_updated"), Claim, fields, undocumented)


def unknown_event(
    *, undocumented: Mapping[str, object] | None = None, **fields: object
) -> BuiltEvent:
    """Build an event of a source that Karla does not have today.

    fields: of the envelope, the order or the customer; the rest of it is undocumented.
    """
    return _finished(_sample("unknown_future_event"), None, fields, undocumented)


def from_sample(
    name: str, *, undocumented: Mapping[str, object] | None = None, **fields: object
) -> BuiltEvent:
    """Build an event from one of `karla_receiver.samples`; without changes, its very bytes."""
    body = samples.read(name)
    if not (fields or undocumented):
        return BuiltEvent(body)
    raw: JSONObject = json.loads(body)
    records: dict[str, type[Shipment | Claim]] = {"shipments": Shipment, "claims": Claim}
    record = records.get(raw["source"])
    return _finished(raw, record, fields, undocumented)


# --- how -----------------------------------------------------------------------------------------


def _sample(name: str) -> JSONObject:
    raw: JSONObject = json.loads(samples.read(name))
    return raw


def _finished(
    raw: JSONObject,
    record: type[Shipment | Claim] | None,
    fields: Mapping[str, object],
    undocumented: Mapping[str, object] | None,
) -> BuiltEvent:
    before = deepcopy(raw)
    asked = {_path_of(name, record): value for name, value in fields.items()}
    for path, value in asked.items():
        set_value(raw, path, value)
    _follow(raw, before, record, asked)
    for path, value in (undocumented or {}).items():
        set_value(raw, path, value)
    return _built(raw, asked)


def _path_of(name: str, record: type[Shipment | Claim] | None) -> str:
    places: dict[str, frozenset[str]] = {
        # A shipment's event stays one.
        "": _ENVELOPE if record is None else _ENVELOPE - {"source"},
        "event_data.": frozenset() if record is None else names_of(record),
        "context.order.": names_of(Order),
        "context.customer.": names_of(Customer),
    }
    for prefix, names in places.items():
        if name in names:
            return prefix + name
    kind = "this event" if record is None else f"a {record.__name__.lower()}'s event"
    known = ", ".join(sorted(set[str]().union(*places.values())))
    raise ConfigurationError(
        f"{name!a} is no documented field of {kind}: there are {known}. For one that Karla does"
        " not document use undocumented={'event_data.name': value}"
    )


def _follow(
    raw: JSONObject,
    before: JSONObject,
    record: type[Shipment | Claim] | None,
    asked: Mapping[str, object],
) -> None:
    """Bring in line what follows from what was set, unless it was set too."""
    data: JSONObject = raw["event_data"]
    context: JSONObject = raw.get("context") or {}
    for source, target in _CONTAINED.items():
        if source in asked and target not in asked:
            _replace_in(raw, target, _at(before, source), _at(raw, source))
    if record is None:
        return
    data["event_group"] = raw["event_group"]
    if "ref" not in asked:
        parts = (raw["source"], data.get("phase"), data["event_name"])
        raw["ref"] = "/".join(part for part in parts if part)
    for source, target in (_TIMES, _TIMES[::-1]):
        if source in asked and target not in asked:
            set_value(raw, target, _at(raw, source))
    kind = "shipments" if record is Shipment else "claims"
    for entry in context.get(kind) or ():
        repeated = {key: data[key] for key in _REPEATED[kind] if key in data}
        if kind == "claims":
            entry.update(repeated, uuid=data["claim_id"])
        elif entry.get("shipment_id") == before["event_data"]["shipment_id"]:
            entry.update(repeated)


def _at(raw: JSONObject, path: str) -> object:
    value: Any = raw
    for part in path.split("."):
        value = value.get(part) if is_object(value) else None
    return value


def _replace_in(raw: JSONObject, path: str, old: object, new: object) -> None:
    text = _at(raw, path)
    if isinstance(text, str) and isinstance(old, str) and isinstance(new, str):
        set_value(raw, path, text.replace(old, new))


def _built(raw: JSONObject, asked: Mapping[str, object]) -> BuiltEvent:
    """Write an event down, once what was asked for is known to be documented."""
    kinds: dict[object, type[Event]] = {"shipments": ShipmentEvent, "claims": ClaimEvent}
    kind = kinds.get(raw.get("source"), Event)
    for path, value in asked.items():
        check_value(path, value, kind)
    try:
        # As Karla writes it: no blanks, no escapes.
        text = json.dumps(raw, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return BuiltEvent(text.encode())
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"a value has no form in JSON: {error}") from None
