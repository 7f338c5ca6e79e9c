from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karla_receiver import (
    ClaimEvent,
    ClaimReason,
    ClaimStatus,
    Direction,
    Event,
    EventGroup,
    PayloadError,
    Phase,
    Reason,
    ResolutionPreference,
    ShipmentEvent,
    Source,
    UnknownEvent,
    parse_event,
    samples,
)
from karla_receiver.decoding import brackets
from karla_receiver.idempotency import occurrence_key

DELIVERED: dict[str, Any] = json.loads(samples.read("shipment_delivered"))
CLAIM: dict[str, Any] = json.loads(samples.read("claim_created"))


def parse(document: Any) -> Event:
    return parse_event(json.dumps(document).encode())


def changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a copy with the value at a dotted path replaced."""
    result = copy.deepcopy(document)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place: Any = result
    for part in parents:
        place = place[part]
    place[last] = value
    return result


def shipment(document: Any) -> ShipmentEvent:
    event = parse(document)
    assert isinstance(event, ShipmentEvent)
    return event


def claim(document: Any) -> ClaimEvent:
    event = parse(document)
    assert isinstance(event, ClaimEvent)
    return event


@pytest.mark.parametrize("name", samples.names())
def test_every_sample_becomes_the_event_it_is_named_after(name: str) -> None:
    event = parse_event(samples.read(name))

    expected = {"claim": ClaimEvent, "unknown": UnknownEvent}.get(name.split("_")[0], ShipmentEvent)
    assert type(event) is expected
    assert event.raw == json.loads(samples.read(name))
    assert event.shop_slug == "nordlicht-teeladen"
    assert event.triggered_at is not None
    assert event.triggered_at.tzinfo is not None


def test_a_shipment_event_reads_well_in_a_handler() -> None:
    event = shipment(DELIVERED)

    assert event.source == Source.SHIPMENTS
    assert event.ref == "shipments/delivered/SUCCESSFULLY_DELIVERED"
    assert event.version == 1
    assert event.event_group == EventGroup.SHIPMENT_DELIVERED
    assert event.phase == Phase.DELIVERED
    assert event.event_name == "SUCCESSFULLY_DELIVERED"
    assert event.shipment_id == "2f3f4a0e-9b5c-4c2b-8a71-5f0c9f1f6a10"
    assert event.direction == Direction.TO_CUSTOMER
    assert event.tracking_number == "JJD000390012345678901"
    assert event.tracking_url == "https://track.example.com/dhl/JJD000390012345678901"
    assert event.carrier_reference == "dhl"
    assert event.updated_at == datetime(2026, 3, 5, 11, 42, 8, tzinfo=UTC)
    assert event.order_number == "NT-20417"
    assert event.order is not None
    assert event.order.total_order_price == 54.8
    assert [product.sku for product in event.order.products] == ["TEE-EG-250", "KANNE-1L"]
    assert event.order.address is not None
    assert event.order.address.city == "Kiel"
    assert event.customer is not None
    assert event.customer.email == "mira.holm@example.com"
    assert event.context.shipments[0]["phase"] == "delivered"
    assert event.shop_id == "5b0f7c1e-3f0a-4a57-9d3b-0a8f2f3d7c11"


def test_a_claim_event_reads_well_in_a_handler() -> None:
    event = claim(CLAIM)

    assert event.claim_id == "7d9e5c1b-43f1-4bb0-9b83-1fd0b7f3a9e4"
    assert event.event_name == "created"
    assert event.reason == ClaimReason.PARTIAL_DAMAGE
    assert event.status == ClaimStatus.PENDING
    assert event.resolution_preference == ResolutionPreference.REFUND
    assert event.updated_at == datetime(2026, 3, 6, 20, 11, 9, tzinfo=UTC)
    assert event.event_data.description == "The lid of the pot is cracked, the tea is fine."
    assert [item.quantity for item in event.event_data.selected_items] == [1, 2]
    assert event.order_number == "NT-20417"


def test_an_event_of_a_source_unknown_to_us_keeps_all_that_was_sent() -> None:
    event = parse_event(samples.read("unknown_future_event"))

    assert isinstance(event, UnknownEvent)
    assert event.event_name == "PRINTED"
    assert event.event_data["return_id"] == "ret_01J2"
    assert event.raw["delivery"] == {"attempt": 1}
    assert event.order_number == "NT-20417"
    assert event.problem == "source: neither 'shipments' nor 'claims'"
    assert UnknownEvent(event_group="x", problem="y").event_name is None


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (5, "event_data: shipment_id: Expected `str`, got `int`"),
        ("", "event_data: shipment_id: Expected `str` of length >= 1"),
        (None, "event_data: shipment_id: Expected `str`, got `null`"),
    ],
)
def test_a_shipment_without_its_id_is_unknown_and_says_where(value: Any, problem: str) -> None:
    event = parse(changed(DELIVERED, "event_data.shipment_id", value))

    assert isinstance(event, UnknownEvent)
    assert event.problem == problem
    assert event.order_number == "NT-20417"


@pytest.mark.parametrize("document", [DELIVERED, CLAIM])
@pytest.mark.parametrize("event_data", [{}, None, [], "x", 5])
def test_an_event_without_data_is_unknown(document: dict[str, Any], event_data: Any) -> None:
    event = parse(changed(document, "event_data", event_data))

    assert isinstance(event, UnknownEvent)
    assert event.event_data == {}
    assert event.event_name is None
    assert event.raw["event_data"] == event_data
    assert event.order_number == "NT-20417"


@pytest.mark.parametrize("source", [5, [], {}, True])
def test_an_event_whose_source_is_not_text_is_unknown(source: Any) -> None:
    event = parse(changed(DELIVERED, "source", source))

    assert isinstance(event, UnknownEvent)
    assert event.source is None
    assert event.ref == "shipments/delivered/SUCCESSFULLY_DELIVERED"
    assert event.event_name == "SUCCESSFULLY_DELIVERED"


def test_a_claim_without_its_id_is_unknown() -> None:
    event = parse(changed(CLAIM, "event_data.claim_id", []))

    assert isinstance(event, UnknownEvent)
    assert event.problem.startswith("event_data: claim_id: ")


# Each: a path, a value of a type that nobody expects there, and what the field then is.
MISFITS: list[tuple[str, Any, Any]] = [
    ("version", "1", None),
    ("version", True, None),
    ("triggered_at", "yesterday", None),
    ("triggered_at", "2026-03-05T11:42:08", None),
    ("shop_slug", 5, None),
    ("raw", "of the sender", "not this field"),
    ("triggered_at", 1772710930, None),
    ("ref", 5, None),
    ("ref", ["shipments"], None),
    ("context", {}, None),
    ("context", [], None),
    ("context", "order", None),
    ("event_name", {}, "not a field"),
    ("context.order", [], None),
    ("context.order.products", None, ()),
    ("context.order.products.0.price", "14.95", None),
    ("context.order.products.0", "a product", None),
    ("context.order.address.city", 24103, None),
    ("context.order.order_number", 20417, None),
    ("context.order.segments", ["returning", 5], ()),
    ("context.customer", "Mira", None),
    ("context.shipments", [{}, 5], ()),
    ("event_data.phase", 7, None),
    ("event_data.updated_at", 1772710930, None),
    ("event_data.tracking_url", {}, None),
]


@pytest.mark.parametrize(("path", "value", "left"), MISFITS, ids=lambda part: str(part)[:40])
def test_an_optional_field_of_an_unexpected_type_costs_that_field_only(
    path: str, value: Any, left: Any
) -> None:
    document = changed(DELIVERED, path, value)
    event = shipment(document)

    assert event.raw == document
    assert event.shipment_id == DELIVERED["event_data"]["shipment_id"]
    assert path in {"raw", "event_name"} or attribute(event, path) == left
    # What does not lie on the way is as it was.
    for other in ("event_data.tracking_number", "context.customer.email", "shop_id"):
        if not other.startswith(path.split(".")[0]) or path.startswith("context.order."):
            assert attribute(event, other) == attribute(shipment(DELIVERED), other)


def attribute(event: Event, path: str) -> Any:
    value: Any = event
    for part in path.split("."):
        if value is None or value == ():
            return None
        value = value[int(part)] if part.isdigit() else getattr(value, part)
    return value if not isinstance(value, msgspec.Struct) or value != type(value)() else None


def test_one_product_that_does_not_fit_costs_its_field_and_no_other_product() -> None:
    event = shipment(changed(DELIVERED, "context.order.products.0.price", "14.95"))

    assert event.order is not None
    assert [(product.sku, product.price) for product in event.order.products] == [
        ("TEE-EG-250", None),
        ("KANNE-1L", 20.0),
    ]


def test_a_thousand_misfits_are_looked_into_and_beyond_that_the_list_is_left_out() -> None:
    # Event, context, order and list take four looks.
    few, many = (
        shipment(
            changed(DELIVERED, "context.order.products", [{"sku": 1, "title": "tea"}] * count)
        ).order
        for count in (996, 997)
    )

    assert few is not None
    assert [(product.sku, product.title) for product in few.products] == [(None, "tea")] * 996
    assert many is not None
    assert many.products == ()
    assert many.order_number == "NT-20417"


def test_new_words_are_values_and_no_errors() -> None:
    document = changed(DELIVERED, "event_data.phase", "teleported")
    document["event_group"] = "shipment_teleported"
    event = shipment(document)

    assert event.phase == "teleported"
    assert event.event_group == "shipment_teleported"


def test_a_number_that_no_double_holds_costs_its_field() -> None:
    body = json.dumps(changed(DELIVERED, "context.order.weight", "W")).encode()
    event = parse_event(body.replace(b'"W"', b"1" * 400))

    assert event.order is not None
    assert event.order.weight is None
    assert event.raw["context"]["order"]["weight"] == int("1" * 400)


def test_events_are_immutable_and_shown_without_personal_data() -> None:
    event = shipment(DELIVERED)

    with pytest.raises(AttributeError):
        event.event_group = "x"  # type: ignore[misc]
    assert repr(event) == (
        "<ShipmentEvent ref='shipments/delivered/SUCCESSFULLY_DELIVERED'"
        " event_group='shipment_delivered'>"
    )
    assert len(repr(shipment({**DELIVERED, "ref": "\n\x1b\u202e" * 1000}))) < 300


@pytest.mark.parametrize("body", ["{}", None, {}])
def test_a_body_that_is_not_bytes_is_a_type_error(body: Any) -> None:
    with pytest.raises(TypeError, match="bytes"):
        parse_event(body)


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_any_bytes_like_body_is_decoded(kind: Any) -> None:
    assert isinstance(parse_event(kind(samples.read("claim_created"))), ClaimEvent)


def nested(depth: int, opening: bytes, closing: bytes) -> bytes:
    return b'{"event_group":"x","a":' + opening * depth + b"1" + closing * depth + b"}"


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"b":', b"}")])
def test_json_may_be_64_levels_deep_and_no_deeper(opening: bytes, closing: bytes) -> None:
    assert parse_event(nested(63, opening, closing)).event_group == "x"
    for depth in (64, 500, 100_000):
        with pytest.raises(PayloadError) as refusal:
            parse_event(nested(depth, opening, closing))
        assert refusal.value.reason is Reason.INVALID_JSON
        assert refusal.value.status == 400


def test_depth_counts_levels_and_not_brackets() -> None:
    siblings = b"[[],{}]," * 500
    wide = parse_event(b'{"event_group":"x","a":[' + siblings + b"0]}")
    assert len(wide.raw["a"]) == 501
    assert parse_event(b'{"event_group":"' + b"[{" * 500 + b'"}').event_group == "[{" * 500
    with pytest.raises(PayloadError, match="not an object"):
        parse_event(b'"' + b"[" * 100 + b'"')


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"event_group":"canary\xff"}', "UnicodeDecodeError"),
        # From Python 3.14 on the depth is limited by the stack's size, not by a count.
        (b"[" * 10_000, "RecursionError|truncated"),
        (b'{"event_group":"canary', "truncated"),
        (b'{"event_group":canary}', "byte 15"),
        (b'{"event_group":1e999}', "out of range"),
    ],
)
def test_a_refusal_of_json_names_the_fault_and_quotes_nothing(body: bytes, detail: str) -> None:
    with pytest.raises(PayloadError, match=detail) as refusal:
        parse_event(body)
    assert refusal.value.reason is Reason.INVALID_JSON
    assert "canary" not in str(refusal.value)
    assert refusal.value.__cause__ is None


@given(st.binary())
def test_bytes_of_any_kind_give_an_event_or_our_own_error(body: bytes) -> None:
    try:
        assert isinstance(parse_event(body), Event)
    except PayloadError as refusal:
        assert refusal.status == 400


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=9), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(data=st.data(), value=JSON)
def test_any_json_at_any_place_but_the_event_group_leaves_an_event(
    data: st.DataObject, value: Any
) -> None:
    document = copy.deepcopy(data.draw(st.sampled_from([DELIVERED, CLAIM])))
    place: Any = document
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else [0]))
        inner = place[key] if isinstance(place, dict) or place else None
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            break
        place = inner
    if isinstance(place, dict) or place:
        place[key] = value
    group = document["event_group"]
    if not isinstance(group, str) or not group:
        with pytest.raises(PayloadError) as refusal:
            parse(document)
        assert refusal.value.reason is Reason.INVALID_ENVELOPE
    else:
        event = parse(document)
        assert event.raw == document
        assert occurrence_key(event)
        assert event.event_group == document["event_group"]
        assert isinstance(event, ShipmentEvent | ClaimEvent | UnknownEvent)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (nested(64, b"[", b"]"), "invalid_json: deeper than 64 levels"),
        (b"[]", "invalid_envelope: not an object"),
        (b"{}", "invalid_envelope: event_group is not a text of at least one character"),
        (
            b'{"event_group":"","source":"claims","event_data":{"claim_id":"1"}}',
            "invalid_envelope: event_group is not a text of at least one character",
        ),
        (
            b'{"event_group":5}',
            "invalid_envelope: event_group is not a text of at least one character",
        ),
    ],
    ids=lambda part: part[:60] if isinstance(part, str) else "body",
)
def test_a_refusal_says_what_was_found(body: bytes, said: str) -> None:
    with pytest.raises(PayloadError) as refusal:
        parse_event(body)
    assert str(refusal.value) == said


def test_a_long_body_may_be_as_deep_as_a_short_one() -> None:
    """Brackets are counted in another way where a copy of the body would cost memory."""
    for length in (65_535, 65_536, 65_537, 70_000):
        for opening, closing in ((b"[", b"]"), (b'{"b":', b"}")):
            assert parse_event(nested(63, opening, closing).ljust(length)).event_group == "x"
            with pytest.raises(PayloadError, match="deeper than 64 levels"):
                parse_event(nested(64, opening, closing).ljust(length))


@given(st.lists(st.sampled_from([b"[", b"{", b"]", b"}", b"a", b'"'])).map(b"".join))
def test_both_ways_of_counting_brackets_agree(body: bytes) -> None:
    expected = sum(byte in b"[{" for byte in body)
    assert brackets(body) == expected
    assert brackets(body.ljust(70_000)) == expected


def test_exactly_as_many_brackets_as_levels_are_allowed_prove_nothing() -> None:
    """64 brackets need no look into the value, 65 do; either way only its depth counts."""
    for depth in (62, 63):
        assert parse_event(nested(depth, b"[", b"]")).raw["a"]
    for pairs in (63, 64, 65):
        wide = b'{"event_group":"x","a":[' + b",".join([b"[]"] * (pairs - 2)) + b"]}"
        assert len(parse_event(wide).raw["a"]) == pairs - 2


def test_any_number_of_misfits_costs_the_fields_and_never_the_event() -> None:
    """Past the budget a handler of shipments would otherwise miss a parcel that was delivered."""
    event = json.loads(samples.read("shipment_delivered"))
    event["context"]["order"]["products"] = [{"quantity": "many"}] * 1_200
    event["event_data"]["updated_at"] = "2024-01-15T10:30:00"  # no offset: fits no timestamp
    parsed = parse_event(json.dumps(event).encode())

    assert isinstance(parsed, ShipmentEvent)
    assert parsed.shipment_id == event["event_data"]["shipment_id"]
