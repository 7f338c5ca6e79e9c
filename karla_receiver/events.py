"""The typed events: what a handler is given.

Field names are Karla's own. Only the id of what an event is about is required; anything else may
be absent and is then None (lists are empty), because a field that Karla leaves out or changes
must not cost the event. Whatever was sent is in `raw`, known to these types or not.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, TypeAlias, TypeVar, cast

import msgspec

__all__ = [
    "DECODABLE",
    "Address",
    "Claim",
    "ClaimEvent",
    "ClaimItem",
    "Context",
    "Customer",
    "Discount",
    "Event",
    "Image",
    "JSONObject",
    "Order",
    "Product",
    "Shipment",
    "ShipmentEvent",
    "UnknownEvent",
    "decodable",
    "sent_data",
]

_StructT = TypeVar("_StructT", bound=msgspec.Struct)

DECODABLE: Final[set[type[msgspec.Struct]]] = set()


def decodable(struct: type[_StructT]) -> type[_StructT]:
    """Have msgspec read a struct, and those in its fields, now. For use as a decorator."""
    msgspec.json.Decoder(struct)
    DECODABLE.add(struct)
    return struct


# Aware only: a text without an offset could mean any of 26 hours, and stays in `raw`.
Timestamp: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)]
Identifier: TypeAlias = Annotated[str, msgspec.Meta(min_length=1)]
JSONObject: TypeAlias = dict[str, Any]


class _Data(msgspec.Struct, frozen=True, kw_only=True):
    """What all parts of an event have in common: immutable, known fields only."""


class Image(_Data, frozen=True, kw_only=True):
    """A product's picture."""

    src: str | None = None
    alt: str | None = None


class Product(_Data, frozen=True, kw_only=True):
    """One line of an order. Prices are in the order's currency."""

    sku: str | None = None
    title: str | None = None
    quantity: int | None = None
    price: float | None = None
    size: str | None = None
    weight: float | None = None
    type: str | None = None
    shipment_id: str | None = None
    images: tuple[Image, ...] = ()


class Discount(_Data, frozen=True, kw_only=True):
    """A discount of an order; Karla sends the amount as text."""

    code: str | None = None
    amount: str | None = None
    type: str | None = None


class Address(_Data, frozen=True, kw_only=True):
    """Where an order goes."""

    name: str | None = None
    company: str | None = None
    address_line_1: str | None = None
    address_line_2: str | None = None
    street: str | None = None
    city: str | None = None
    zip_code: str | None = None
    province: str | None = None
    province_code: str | None = None
    country: str | None = None
    country_code: str | None = None
    phone: str | None = None


class Order(_Data, frozen=True, kw_only=True):
    """The order that an event belongs to. Prices are in `currency`, weight is in grams."""

    uuid: str | None = None
    external_id: str | None = None
    external_customer_id: str | None = None
    order_number: str | None = None
    order_name: str | None = None
    order_placed_at: Timestamp | None = None
    total_order_price: float | None = None
    sub_total_price: float | None = None
    shipping_price: float | None = None
    discount_price: float | None = None
    currency: str | None = None
    email_id: str | None = None
    weight: float | None = None
    segments: tuple[str, ...] = ()
    products: tuple[Product, ...] = ()
    discounts: tuple[Discount, ...] = ()
    address: Address | None = None


class Customer(_Data, frozen=True, kw_only=True):
    """Who ordered. A guest has no external_id."""

    external_id: str | None = None
    email: str | None = None
    first_name: str | None = None
    last_name: str | None = None


class Context(_Data, frozen=True, kw_only=True):
    """What surrounds an event.

    shipments and claims are plain objects: no source documents their fields.
    """

    order: Order | None = None
    customer: Customer | None = None
    shipments: tuple[JSONObject, ...] = ()
    claims: tuple[JSONObject, ...] = ()


class Shipment(_Data, frozen=True, kw_only=True):
    """The event_data of a shipment event.

    A draft has no tracking number, URL or carrier yet. Carrier codes come in either case.
    """

    shipment_id: Identifier
    event_name: str | None = None
    phase: str | None = None
    event_group: str | None = None
    direction: str | None = None
    tracking_number: str | None = None
    tracking_url: str | None = None
    carrier_reference: str | None = None
    updated_at: Timestamp | None = None
    event_time: Timestamp | None = None
    event_id: str | None = None
    external_id: str | None = None


class ClaimItem(_Data, frozen=True, kw_only=True):
    """One product that a customer claims."""

    sku: str | None = None
    title: str | None = None
    quantity: int | None = None
    net_price: float | None = None
    image_urls: tuple[str, ...] = ()


class Claim(_Data, frozen=True, kw_only=True):
    """The event_data of a claim event. The description is free text by the customer."""

    claim_id: Identifier
    event_name: str | None = None
    event_group: str | None = None
    reason: str | None = None
    status: str | None = None
    resolution_preference: str | None = None
    description: str | None = None
    customer_signature_image_url: str | None = None
    dropoff_permission: bool | None = None
    created_at: Timestamp | None = None
    updated_at: Timestamp | None = None
    event_id: str | None = None
    selected_items: tuple[ClaimItem, ...] = ()
    image_urls: tuple[str, ...] = ()
    optional_image_urls: tuple[str, ...] = ()


class Event(_Data, frozen=True, kw_only=True):
    """What every event says, whatever it is about.

    event_group: the kind of message; compare with `EventGroup`.
    source: what it is about; compare with `Source`.
    ref: its address, as in `shipments/delivered/SUCCESSFULLY_DELIVERED`.
    version: of Karla's format; always 1 so far.
    triggered_at: when it happened, aware.
    raw: the whole decoded object as sent, fields unknown to these types included.
    """

    event_group: str
    source: str | None = None
    ref: str | None = None
    version: int | None = None
    triggered_at: Timestamp | None = None
    context: Context = Context()
    shop_slug: str | None = None
    shop_id: str | None = None
    raw: JSONObject = {}  # a copy for each event: msgspec sees to it

    @property
    def event_name(self) -> str | None:
        """What happened, as sent, if it is text. Karla uses either case: compare without it."""
        name: object = sent_data(self).get("event_name")
        return name if isinstance(name, str) else None

    @property
    def order(self) -> Order | None:
        """The order, if one came along."""
        return self.context.order

    @property
    def customer(self) -> Customer | None:
        """The customer, if one came along."""
        return self.context.customer

    @property
    def order_number(self) -> str | None:
        """The number that the shop and its customer know the order by."""
        order = self.context.order
        return None if order is None else order.order_number

    def __repr__(self) -> str:
        # Short on purpose: an event holds a customer's name, address and words.
        return (
            f"<{type(self).__name__} ref={self.ref!a:.100} event_group={self.event_group!a:.100}>"
        )


@decodable
class ShipmentEvent(Event, frozen=True, kw_only=True):
    """Something happened to a shipment."""

    event_data: Shipment

    @property
    def shipment_id(self) -> str:
        """The shipment's id in Karla; never empty."""
        return self.event_data.shipment_id

    @property
    def event_name(self) -> str | None:
        """What happened, as in `SUCCESSFULLY_DELIVERED`; in either case."""
        return self.event_data.event_name

    @property
    def phase(self) -> str | None:
        """Where the shipment is; compare with `Phase`."""
        return self.event_data.phase

    @property
    def direction(self) -> str | None:
        """Which way the parcel goes; compare with `Direction`."""
        return self.event_data.direction

    @property
    def tracking_number(self) -> str | None:
        """The carrier's number; None for a draft."""
        return self.event_data.tracking_number

    @property
    def tracking_url(self) -> str | None:
        """Where the parcel can be followed; None for a draft."""
        return self.event_data.tracking_url

    @property
    def carrier_reference(self) -> str | None:
        """The carrier's code, as in `dhl`, in either case."""
        return self.event_data.carrier_reference

    @property
    def updated_at(self) -> datetime | None:
        """When the shipment changed, aware: what to order a shipment's events by."""
        return self.event_data.updated_at


@decodable
class ClaimEvent(Event, frozen=True, kw_only=True):
    """A customer made or changed a claim, or the shop decided on it."""

    event_data: Claim

    @property
    def claim_id(self) -> str:
        """The claim's id in Karla; never empty."""
        return self.event_data.claim_id

    @property
    def event_name(self) -> str | None:
        """`created` or `updated`."""
        return self.event_data.event_name

    @property
    def reason(self) -> str | None:
        """Why the customer claims; compare with `ClaimReason`."""
        return self.event_data.reason

    @property
    def status(self) -> str | None:
        """How far the claim is; compare with `ClaimStatus`."""
        return self.event_data.status

    @property
    def resolution_preference(self) -> str | None:
        """What the customer would like; compare with `ResolutionPreference`."""
        return self.event_data.resolution_preference

    @property
    def updated_at(self) -> datetime | None:
        """When the claim changed, aware: what to order a claim's events by."""
        return self.event_data.updated_at


@decodable
class UnknownEvent(Event, frozen=True, kw_only=True):
    """A genuine event that is neither a shipment's nor a claim's, or that does not fit its type.

    event_data: as sent; empty if it was absent, or not an object.
    problem: what did not fit, and where.
    """

    problem: str
    event_data: JSONObject = {}


def sent_data(event: Event) -> JSONObject:
    """Return the event_data that was sent; empty if it was absent, or not an object."""
    data: object = event.raw.get("event_data")
    return cast("JSONObject", data) if isinstance(data, dict) else {}
