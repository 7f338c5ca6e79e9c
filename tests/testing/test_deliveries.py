from __future__ import annotations

import json
import time

import pytest

from karla_receiver import ConfigurationError, Event, Receiver, Request, Verifier, samples
from karla_receiver.testing import BadKind, bad_delivery, shipment_event, signed_delivery
from tests.signing import BODY, NOW, SECRET

EVENT = json.loads(BODY)


def test_a_signed_delivery_is_what_karla_sends() -> None:
    delivery = signed_delivery(BODY, SECRET, timestamp=NOW)

    assert (delivery.method, delivery.body, delivery.reason) == ("POST", BODY, None)
    assert dict(delivery.headers)["Content-Type"] == "application/json"
    assert Verifier(SECRET, clock=lambda: NOW).verify(BODY, delivery.signature).timestamp == NOW


def test_without_a_timestamp_it_is_signed_at_present() -> None:
    delivery = signed_delivery(BODY, SECRET)
    assert abs(Verifier(SECRET).verify(BODY, delivery.signature).timestamp - time.time()) < 60


def test_what_is_serialised_anew_differs_from_any_body() -> None:
    styles = (json.dumps(EVENT), json.dumps(EVENT, indent=1), json.dumps(EVENT, indent=2))
    for body in map(str.encode, styles):
        anew = bad_delivery("reserialised", body, SECRET).body
        assert anew != body
        assert json.loads(anew) == EVENT


def test_what_is_too_long_is_a_byte_longer_than_a_receiver_takes() -> None:
    assert len(bad_delivery("oversized", BODY, SECRET).body) == 1_048_577
    assert len(bad_delivery("oversized", BODY, SECRET, max_body_bytes=9_999).body) == 10_000


def test_what_is_nested_too_deeply_cannot_be_made_bad() -> None:
    body = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    with pytest.raises(ConfigurationError, match="nested too deeply"):
        bad_delivery("reserialised", body, SECRET)


@pytest.mark.parametrize("kind", BadKind)
@pytest.mark.parametrize("name", samples.names())
def test_every_bad_kind_is_refused_for_its_reason(kind: BadKind, name: str) -> None:
    events: list[Event] = []
    receiver = Receiver(SECRET, clock=lambda: NOW)
    receiver.on("*")(events.append)

    bad = bad_delivery(kind, samples.read(name), SECRET, now=NOW)
    response = receiver.receive(Request(bad.method, bad.headers, bad.body))

    assert bad.reason is not None
    assert response.reason == bad.reason
    assert not events


def test_a_kind_may_be_given_as_text_and_is_bad_at_present() -> None:
    bad = bad_delivery("late", BODY, SECRET)
    response = Receiver(SECRET).receive(Request(bad.method, bad.headers, bad.body))
    assert response.reason == bad.reason == "timestamp_too_old"


def test_an_unknown_kind_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ConfigurationError, match=r"'wicked': there are forged, altered, "):
        bad_delivery("wicked", BODY, SECRET)


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b"1"])
def test_a_bad_delivery_that_rewrites_the_event_needs_one(body: bytes) -> None:
    with pytest.raises(ConfigurationError, match="must be an object"):
        bad_delivery(BadKind.RESERIALISED, body, SECRET)


def test_a_delivery_shows_neither_its_signature_nor_its_body() -> None:
    event = shipment_event(order_number="NT-7")
    delivery = event.signed(SECRET)
    bad = event.bad("forged", SECRET)

    assert delivery.signature is not None
    assert repr(delivery) == f"<Delivery 'POST', {len(event.body)} bytes>"
    assert repr(bad).endswith("bytes, to be refused: signature_mismatch>")
    assert event.bad("unsigned", SECRET).signature is None
