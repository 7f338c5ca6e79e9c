from __future__ import annotations

import json

import pytest

from karla_receiver import Reason, parse_event, samples
from karla_receiver.cli.deliveries import (
    MAX_BODY_BYTES,
    NamedDelivery,
    all_deliveries,
    genuine_deliveries,
    refused_deliveries,
)
from tests.signing import NOW, SECRET

GENUINE = samples.read("shipment_delivered")

# Those need a broken client, a broken store, or another set-up than the demo's.
OUT_OF_REACH = {
    Reason.BAD_CONTENT_LENGTH,
    Reason.BODY_INCOMPLETE,
    Reason.HTTPS_REQUIRED,
    Reason.IN_PROGRESS,
    Reason.LENGTH_REQUIRED,
    Reason.UNAVAILABLE,
    Reason.CLIENT_DISCONNECTED,
    Reason.RETRY_LATER,
}


def refused(name: str) -> NamedDelivery:
    (delivery,) = [each for each in refused_deliveries(SECRET, now=NOW) if each.name == name]
    return delivery


def test_every_sample_is_sent_as_it_is() -> None:
    bodies = {each.name: each.request.body for each in genuine_deliveries(SECRET, now=NOW)}
    assert bodies == {name: samples.read(name) for name in samples.names()}


def test_every_reason_within_reach_of_a_sender_has_a_delivery() -> None:
    reasons = {each.request.reason for each in refused_deliveries(SECRET, now=NOW)}
    assert reasons == set(Reason) - OUT_OF_REACH


def test_the_genuine_come_first_and_no_two_share_a_name() -> None:
    deliveries = all_deliveries(SECRET, now=NOW)
    kinds = [each.request.reason is not None for each in deliveries]

    assert kinds == sorted(kinds)
    assert len({each.name for each in deliveries}) == len(deliveries)


@pytest.mark.parametrize("kind", ["altered", "reserialised"])
def test_what_differs_in_bytes_alone_is_the_same_event(kind: str) -> None:
    body = refused(kind).request.body

    assert body != GENUINE
    assert parse_event(body) == parse_event(GENUINE)


def test_the_oversized_body_is_a_good_event_but_for_one_byte() -> None:
    oversized = refused("oversized").request.body

    assert len(oversized) == MAX_BODY_BYTES + 1
    assert json.loads(oversized) == json.loads(GENUINE)
