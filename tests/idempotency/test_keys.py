from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from karla_receiver import parse_event, samples
from karla_receiver.idempotency import occurrence_key
from karla_receiver.idempotency.keys import delivery_key

SHIPMENT = json.loads(samples.read("shipment_delivered"))
CLAIM = json.loads(samples.read("claim_updated"))


def occurrence(event: dict[str, Any]) -> str:
    return occurrence_key(parse_event(json.dumps(event).encode()))


def changed(event: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """Return a copy of event with another value at a path; None takes the field away."""
    copy: dict[str, Any] = json.loads(json.dumps(event))
    *parents, name = path.split(".")
    place = copy
    for parent in parents:
        place = place[parent]
    place[name] = value
    if value is None:
        del place[name]
    return copy


# --- the key of a delivery -----------------------------------------------------------------------


def test_without_a_function_the_raw_body_decides() -> None:
    body = samples.read("shipment_delivered")

    assert delivery_key(body, parse_event(body), None) == hashlib.sha256(body).hexdigest()
    assert delivery_key(body + b" ", None, None) != delivery_key(body, None, None)


def test_a_function_decides_but_not_about_what_is_no_event() -> None:
    event = parse_event(samples.read("shipment_delivered"))

    assert delivery_key(b"1", event, lambda event: "x") == delivery_key(b"2", event, lambda _: "x")
    assert delivery_key(b"1", event, lambda event: "x") == hashlib.sha256(b"x").hexdigest()
    assert delivery_key(b"1", None, lambda event: "x") == hashlib.sha256(b"1").hexdigest()


def test_a_key_may_be_any_text() -> None:
    event = parse_event(samples.read("shipment_delivered"))

    assert len(delivery_key(b"", event, lambda event: "\ud800\x00")) == 64


@pytest.mark.parametrize("key", ["", None, 7, b"bytes"])
def test_a_key_that_would_merge_all_events_is_not_taken(
    key: Any, caplog: pytest.LogCaptureFixture
) -> None:
    event = parse_event(samples.read("shipment_delivered"))

    assert delivery_key(b"1", event, lambda event: key) == hashlib.sha256(b"1").hexdigest()
    assert "returns text, 1 character or more" in caplog.text


# --- the occurrence ------------------------------------------------------------------------------


@pytest.mark.parametrize("event", [SHIPMENT, CLAIM], ids=["shipment", "claim"])
@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("context", None),
        ("context.order.order_number", "another"),
        ("triggered_at", "2030-01-01T00:00:00Z"),
        ("version", 2),
        ("unheard_of", {"a": 1}),
    ],
)
def test_what_surrounds_an_event_does_not_change_what_happened(
    event: dict[str, Any], path: str, value: object
) -> None:
    assert occurrence(changed(event, path, value)) == occurrence(event)


@pytest.mark.parametrize("has_id", [False, True])
@pytest.mark.parametrize(
    ("event", "path", "value"),
    [
        (SHIPMENT, "ref", "shipments/delivered/ANOTHER"),
        (SHIPMENT, "event_group", "shipment_delivered_all_events"),
        (SHIPMENT, "event_data.shipment_id", "another"),
        (SHIPMENT, "shop_id", "another"),
        (CLAIM, "event_data.claim_id", "another"),
        (CLAIM, "event_group", "claim_created"),
    ],
)
def test_two_different_occurrences_are_never_one(
    event: dict[str, Any], path: str, value: str, has_id: bool
) -> None:
    event = changed(event, "event_data.event_id", "one id" if has_id else None)

    assert occurrence(changed(event, path, value)) != occurrence(event)


def test_the_time_of_update_tells_two_occurrences_apart() -> None:
    later = changed(SHIPMENT, "event_data.updated_at", "2030-01-01T00:00:00Z")

    assert occurrence(later) != occurrence(SHIPMENT)


def test_an_events_id_outweighs_the_time_of_update() -> None:
    event = changed(SHIPMENT, "event_data.event_id", "one id")
    later = changed(event, "event_data.updated_at", "2030-01-01T00:00:00Z")

    assert occurrence(later) == occurrence(event)
    assert occurrence(changed(event, "event_data.event_id", "two")) != occurrence(event)
    # An id and a time that read alike are not the same.
    moment = event["event_data"]["updated_at"]
    assert occurrence(changed(SHIPMENT, "event_data.event_id", moment)) != occurrence(SHIPMENT)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("ref", None),
        ("ref", ""),
        ("event_data", None),
        ("event_data.shipment_id", None),
        ("event_data.updated_at", None),
        ("event_data.updated_at", ""),
        ("event_data.updated_at", 1_767_225_600),
        ("source", "parcels"),
    ],
)
def test_an_event_that_lacks_something_is_told_apart_by_all_that_it_says(
    path: str, value: object
) -> None:
    event = changed(SHIPMENT, path, value)

    assert occurrence(changed(event, "context.customer.first_name", "B")) != occurrence(event)
    assert occurrence(dict(reversed(event.items()))) == occurrence(event)


def test_an_integer_of_any_length_is_told_apart_too() -> None:
    events = [{"event_group": "x", "number": 10**4000 + n} for n in range(2)]

    assert len(set(map(occurrence, events))) == 2


@pytest.mark.parametrize("name", samples.names())
def test_nothing_personal_is_in_an_occurrence(name: str) -> None:
    text = occurrence_key(parse_event(samples.read(name)))

    assert "@" not in text
    assert len(text) < 400


def test_the_samples_are_as_many_occurrences_as_they_tell_of() -> None:
    texts = {name: occurrence_key(parse_event(samples.read(name))) for name in samples.names()}

    # These two are one event, escaped differently.
    assert texts["shipment_unicode_names"] == texts.pop("shipment_unicode_names_escaped")
    assert len(set(texts.values())) == len(texts)
