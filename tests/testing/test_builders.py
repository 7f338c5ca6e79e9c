from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from karla_receiver import (
    ClaimEvent,
    ConfigurationError,
    Event,
    EventGroup,
    Phase,
    Receiver,
    Request,
    ShipmentEvent,
    UnknownEvent,
    samples,
)
from karla_receiver.testing import (
    BuiltEvent,
    claim_created,
    claim_updated,
    from_sample,
    shipment_event,
    unknown_event,
)
from tests.signing import SECRET

GROUPS = [group for group in EventGroup if group.startswith("shipment_")]


def shipment(built: BuiltEvent) -> ShipmentEvent:
    event = built.event
    assert isinstance(event, ShipmentEvent)
    return event


def claim(built: BuiltEvent) -> ClaimEvent:
    event = built.event
    assert isinstance(event, ClaimEvent)
    return event


@pytest.mark.parametrize("phase", Phase)
def test_there_is_a_shipment_event_of_every_phase(phase: Phase) -> None:
    event = shipment(shipment_event(phase))

    assert event.phase == phase
    assert event.ref == f"shipments/{phase}/{event.event_name}"
    assert event.event_data.event_group == event.event_group
    assert event.context.shipments[0]["phase"] == phase
    is_draft = phase in {Phase.ORDER_CREATED, Phase.ORDER_PROCESSED}
    assert (event.tracking_number is None) == is_draft
    is_return = phase.startswith("return_")
    assert event.direction == ("customer_merchant" if is_return else "merchant_customer")


@pytest.mark.parametrize("group", GROUPS)
def test_there_is_a_shipment_event_of_every_group(group: EventGroup) -> None:
    event = shipment(shipment_event(event_group=group))

    assert event.event_group == event.event_data.event_group == group
    assert event.phase in list(Phase)


def test_a_group_of_a_sample_has_the_samples_phase_and_name() -> None:
    event = shipment(shipment_event(event_group="shipment_damaged"))
    assert event.ref == "shipments/in_transit/PACKAGE_DAMAGED"


def test_a_shipment_is_delivered_unless_something_else_is_said() -> None:
    assert shipment_event().event.ref == "shipments/delivered/SUCCESSFULLY_DELIVERED"


def test_phase_and_group_can_be_chosen_both() -> None:
    usual = shipment_event("delivered", event_group="shipment_delivered_to_letterbox")
    assert usual.event.ref == "shipments/delivered/DELIVERED_TO_LETTERBOX"
    odd = shipment_event("in_transit", event_group="shipment_delivered")
    assert odd.event.ref == "shipments/in_transit/DEPARTURE_FROM_TRANSPORT_HUB"
    new = shipment_event("lost", event_group="shipment_lost_at_sea")
    assert (new.event.ref, new.event.event_group) == ("shipments/lost/LOST", "shipment_lost_at_sea")
    assert shipment_event("lost").event.event_group == "shipment_lost"


def test_a_group_that_nobody_knows_needs_a_phase() -> None:
    with pytest.raises(ConfigurationError, match="'new_group': give it as well"):
        shipment_event(event_group="new_group")


def test_the_events_of_a_claim_are_claim_events() -> None:
    created = claim(claim_created(claim_id="c-1", reason="damage", description=None))
    updated = claim(claim_updated(status="rejected"))

    assert (created.claim_id, created.reason, created.event_data.description) == (
        "c-1",
        "damage",
        None,
    )
    assert created.context.claims[0]["uuid"] == "c-1"
    assert created.context.claims[0]["reason"] == "damage"
    assert (updated.ref, updated.status) == ("claims/updated", "rejected")
    assert updated.context.claims[0]["status"] == "rejected"


def test_an_unknown_event_is_one() -> None:
    event = unknown_event(source="invoices", ref="invoices/paid", order_number="NT-5").event

    assert isinstance(event, UnknownEvent)
    assert (event.source, event.ref, event.order_number) == ("invoices", "invoices/paid", "NT-5")


def test_a_field_is_found_wherever_it_is() -> None:
    event = shipment(
        shipment_event(
            tracking_number="T-1",
            shop_slug="my-shop",
            order_number="NT-9",
            email="x@example.com",
            shipment_id="s-1",
        )
    )

    assert (event.tracking_number, event.shop_slug, event.order_number) == (
        "T-1",
        "my-shop",
        "NT-9",
    )
    assert event.customer is not None
    assert event.customer.email == "x@example.com"


def test_what_follows_from_a_field_follows_it() -> None:
    moment = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    event = shipment(
        shipment_event(
            tracking_number="T-1",
            order_number="NT-9",
            email="x@example.com",
            shipment_id="s-1",
            event_name="LEFT_AT_DOOR",
            updated_at=moment,
        )
    )

    assert event.ref == "shipments/delivered/LEFT_AT_DOOR"
    assert event.triggered_at == event.updated_at == moment
    assert event.tracking_url == "https://track.example.com/dhl/T-1"
    assert event.order is not None
    assert (event.order.order_name, event.order.email_id) == ("#NT-9", "x@example.com")
    entry = event.context.shipments[0]
    assert (entry["shipment_id"], entry["tracking_number"]) == ("s-1", "T-1")


def test_what_is_given_does_not_follow() -> None:
    event = shipment(
        shipment_event(
            tracking_number="T-1",
            tracking_url=None,
            ref="shipments/elsewhere",
            triggered_at=datetime(2026, 1, 1, tzinfo=UTC),
        )
    )

    assert (event.tracking_url, event.ref) == (None, "shipments/elsewhere")
    assert event.updated_at == event.triggered_at


@pytest.mark.parametrize("name", samples.names())
def test_a_sample_is_its_bytes_until_it_is_changed(name: str) -> None:
    assert from_sample(name).body == samples.read(name)

    changed = from_sample(name, shop_slug="my-shop")
    assert changed.event.shop_slug == "my-shop"
    assert type(changed.event) is type(from_sample(name).event)


def test_a_sample_that_lacks_what_others_have_can_be_changed_too() -> None:
    event = from_sample("shipment_sparse_context", order_number="NT-9", tracking_number="T-1").event
    assert event.order_number == "NT-9"


def test_any_path_can_be_set_and_the_original_stays() -> None:
    event = shipment_event()
    changed = event.set("context.order.products.1.title", "Teapot")

    assert changed.event.order is not None
    assert event.event.order is not None
    assert changed.event.order.products[1].title == "Teapot"
    assert event.event.order.products[1].title != "Teapot"
    assert event.set("context.order.segments.0", "new").raw["context"]["order"]["segments"] == [
        "new"
    ]


def test_what_is_not_documented_has_to_be_asked_for() -> None:
    event = shipment_event(undocumented={"event_data.weather": "rain", "delivery.attempt": 2})

    assert event.raw["event_data"]["weather"] == "rain"
    assert event.raw["delivery"] == {"attempt": 2}
    assert shipment(event).phase == "delivered"
    odd = event.set("event_data.tracking_number", 7, undocumented=True)
    assert shipment(odd).tracking_number is None
    unfit = shipment_event(undocumented={"event_data.shipment_id": None})
    assert isinstance(unfit.event, UnknownEvent)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: shipment_event(tracking_nr="1"), "'tracking_nr' is no documented field of a ship"),
        (lambda: shipment_event(source="claims"), "'source' is no documented"),
        (lambda: shipment_event(claim_id="1"), "'claim_id' is no documented field of a shipment"),
        (lambda: claim_created(tracking_number="1"), "no documented field of a claim's event"),
        (lambda: unknown_event(phase="x"), "'phase' is no documented field of this event"),
        (lambda: shipment_event(tracking_number=7), r"tracking_number: Expected `str \| null`"),
        (lambda: shipment_event(shipment_id=""), "shipment_id: Expected `str` of length >= 1"),
        (lambda: shipment_event(version="one"), "version: Expected `int"),
        (lambda: shipment_event(updated_at=datetime(2026, 1, 1)), "datetime must be aware"),  # noqa: DTZ001
        (lambda: shipment_event(updated_at="yesterday"), "updated_at: Invalid RFC3339"),
        (lambda: shipment_event(order_number=object()), "object has no form in JSON"),
        (
            lambda: shipment_event(order_number="\ud800"),
            "a value has no form in JSON: .*surrogates",
        ),
        (lambda: shipment_event(undocumented={"x": float("nan")}), "a value has no form in JSON"),
        (lambda: shipment_event(undocumented={"x": nested(3000)}), "list has no form in JSON"),
        (lambda: shipment_event().set("event_data.nope", 1), "'nope' is not documented: there are"),
        (lambda: shipment_event().set("raw", {}), "'raw' is not documented"),
        (lambda: shipment_event().set("context.order.products.9.title", ""), "'9' is no place"),
        (lambda: shipment_event().set("context.order.products.x", ""), "no place in a list of 2"),
        (lambda: from_sample("nothing"), "no sample is called 'nothing'"),
    ],
)
def test_a_mistake_is_named(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        build()


@pytest.mark.parametrize("build", [shipment_event, claim_created, claim_updated, unknown_event])
def test_a_built_event_is_handled_by_a_receiver(build: Callable[[], BuiltEvent]) -> None:
    events: list[Event] = []
    receiver = Receiver(SECRET)
    receiver.on("*")(events.append)
    delivery = build().signed(SECRET)

    response = receiver.receive(Request(delivery.method, delivery.headers, delivery.body))

    assert response.status == 200
    assert events == [build().event]


def test_a_built_event_is_written_as_karla_writes_and_shown_in_short() -> None:
    event = shipment_event(first_name="Zoë")

    assert '"first_name":"Zoë"'.encode() in event.body
    assert b": " not in event.body
    assert repr(event).startswith("<BuiltEvent <ShipmentEvent ref='shipments/delivered/")
