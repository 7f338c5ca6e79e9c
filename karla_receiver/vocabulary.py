"""The words that Karla is known to use. Every vocabulary is open: compare with these, never insist.

An event's fields are plain strings, so that a word that Karla adds tomorrow is a value and not
an error; members here are strings too, and compare equal to them. Sources: Karla's documentation
(docs/platform/events), its PHP receiver and its OpenAPI models.
"""

from __future__ import annotations

from enum import StrEnum, unique
from typing import Final

__all__ = [
    "GROUPS",
    "ClaimReason",
    "ClaimStatus",
    "Direction",
    "EventGroup",
    "Phase",
    "ResolutionPreference",
    "Source",
]


@unique
class Source(StrEnum):
    """What an event is about: the first part of its ref."""

    SHIPMENTS = "shipments"
    CLAIMS = "claims"


@unique
class Phase(StrEnum):
    """Where a shipment is: the second part of a shipment's ref."""

    ORDER_CREATED = "order_created"
    ORDER_PROCESSED = "order_processed"
    IN_TRANSIT = "in_transit"
    IN_DELIVERY = "in_delivery"
    COLLECT = "collect"
    DELIVERED = "delivered"
    DELIVERY_FAILED = "delivery_failed"
    RETURN_CREATED = "return_created"
    RETURN_TRANSIT = "return_transit"
    RETURN_RECEIVED = "return_received"
    RETURN_FAILED = "return_failed"
    RETURNED = "returned"


@unique
class EventGroup(StrEnum):
    """What kind of message an event stands for; Karla has more (`return_shipment_*`)."""

    CLAIM_CREATED = "claim_created"
    CLAIM_UPDATED = "claim_updated"
    SHIPMENT_PRE_TRANSIT = "shipment_pre_transit"
    SHIPMENT_IN_TRANSIT = "shipment_in_transit"
    SHIPMENT_DAMAGED = "shipment_damaged"
    SHIPMENT_CARRIER_DELAY = "shipment_carrier_delay"
    SHIPMENT_OUT_FOR_DELIVERY = "shipment_out_for_delivery"
    SHIPMENT_DELIVERY_FAILED = "shipment_delivery_failed"
    SHIPMENT_DELIVERY_FAILED_FORWARDED_TO_PARCEL_SHOP = (
        "shipment_delivery_failed_forwarded_to_parcel_shop"
    )
    SHIPMENT_DELIVERY_FAILED_ADDRESS_ISSUE = "shipment_delivery_failed_address_issue"
    SHIPMENT_DELIVERY_SECOND_ATTEMPT = "shipment_delivery_second_attempt"
    SHIPMENT_DELIVERED = "shipment_delivered"
    SHIPMENT_DELIVERED_TO_NEIGHBOUR = "shipment_delivered_to_neighbour"
    SHIPMENT_DELIVERED_TO_LETTERBOX = "shipment_delivered_to_letterbox"
    SHIPMENT_DELIVERED_TO_PARCEL_SHOP = "shipment_delivered_to_parcel_shop"
    SHIPMENT_DELIVERED_TO_PARCEL_LOCKER = "shipment_delivered_to_parcel_locker"
    SHIPMENT_PICKED_UP = "shipment_picked_up"
    SHIPMENT_FAILED_RETURNED = "shipment_failed_returned"
    SHIPMENT_REFUSED_THEN_RETURNED = "shipment_refused_then_returned"
    SHIPMENT_NOT_PICKED_UP_THEN_RETURNED = "shipment_not_picked_up_then_returned"
    SHIPMENT_DELAYED_DUE_TO_CUSTOMER_REQUEST = "shipment_delayed_due_to_customer_request"
    # A catch-all: one scan may come twice, once under this group and once under its own.
    SHIPMENT_DELIVERED_ALL_EVENTS = "shipment_delivered_all_events"
    SHIPMENT_INTERNAL_TRIGGER = "shipment_internal_trigger"
    SHIPMENT_CARRIER_CHANGED = "shipment_carrier_changed"
    SHIPMENT_ORDER_CANCELLED = "shipment_order_cancelled"


GROUPS: Final = frozenset(map(str, EventGroup))


@unique
class Direction(StrEnum):
    """Which way a parcel goes."""

    TO_CUSTOMER = "merchant_customer"
    TO_MERCHANT = "customer_merchant"


@unique
class ClaimReason(StrEnum):
    """Why a customer claims; Karla's guides name more flows than these."""

    DAMAGE = "damage"
    PARTIAL_DAMAGE = "partial_damage"
    INVESTIGATION = "investigation"
    SUPPORT = "support"
    RETURN = "return"


@unique
class ClaimStatus(StrEnum):
    """How far a claim is."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    CLOSED = "closed"


@unique
class ResolutionPreference(StrEnum):
    """What the customer would like; a merchant can configure further ones."""

    REORDER = "reorder"
    REFUND = "refund"
