from __future__ import annotations

import json
from typing import Any

import pytest

from karla_receiver import (
    ClaimEvent,
    ConfigurationError,
    Event,
    EventGroup,
    ShipmentEvent,
    parse_event,
    samples,
)
from karla_receiver.handlers.routing import Routes
from karla_receiver.patterns import addresses_of, check_group, group_pattern, parse_pattern

DELIVERED: dict[str, Any] = json.loads(samples.read("shipment_delivered"))


def event_with(**fields: Any) -> Event:
    return parse_event(json.dumps({**DELIVERED, **fields}).encode())


@pytest.mark.parametrize(
    ("pattern", "ref", "matches"),
    [
        ("*", "shipments/delivered/SUCCESSFULLY_DELIVERED", True),
        ("*", "returns/label/PRINTED", True),
        ("shipments", "shipments/delivered/SUCCESSFULLY_DELIVERED", True),
        ("shipments", "claims/created", False),
        ("shipments/delivered", "shipments/delivered/SUCCESSFULLY_DELIVERED", True),
        ("shipments/delivered", "shipments/delivered_x/SUCCESSFULLY_DELIVERED", False),
        ("shipments/delivered/NEW", "shipments/delivered/new", True),
        ("shipments/delivered/new", "shipments/delivered/NEW", True),
        ("shipments/delivered/NEW", "shipments/delivered/NEWER", False),
        ("shipments/delivered/NEW", "shipments/delivered", False),
        ("shipments/teleported", "shipments/teleported/NEW", True),
        ("shipments/delivered", "shipments/DELIVERED/NEW", False),
        ("claims/created", "claims/CREATED", True),
        ("claims/Created", "claims/created", True),
        ("claims", "claims/created", True),
        ("returns", "returns/label/PRINTED", True),
        ("returns/label/printed", "returns/label/PRINTED", True),
        ("returns/label", "returns/LABEL/PRINTED", False),
        ("shipments", "Shipments/delivered/NEW", False),
        ("shipments", "//", False),
    ],
)
def test_patterns_match_by_part_and_event_names_in_any_case(
    pattern: str, ref: str, matches: bool
) -> None:
    address = addresses_of(event_with(ref=ref, source=None))[0]
    assert parse_pattern(pattern).covers(address) is matches


ODD_REFS = [
    "Shipments/delivered/NEW",
    "/shipments/delivered",
    "foo",
    "//",
    "shipments",
    "shipments/",
    "shipments//SUCCESSFULLY_DELIVERED",
    "shipments//delivered/SUCCESSFULLY_DELIVERED",
    "shipments/DELIVERED/SUCCESSFULLY_DELIVERED",
    "shipments/delivered",
    "shipments/delivered/",
    "shipments/delivered/SUCCESSFULLY_DELIVERED/",
    "shipments/delivered /SUCCESSFULLY_DELIVERED",
    "claims/created",
    "returns/label/PRINTED",
]


@pytest.mark.parametrize("ref", [*ODD_REFS, "", None, 5])
@pytest.mark.parametrize(
    "pattern",
    ["*", "shipments", "shipments/delivered", "shipments/delivered/SUCCESSFULLY_DELIVERED"],
)
def test_no_odd_ref_leads_past_a_handler_that_wants_the_event(
    ref: str | None, pattern: str
) -> None:
    routes = Routes()
    routes.add(print, (parse_pattern(pattern),), None)

    found = routes.find(event_with(ref=ref))

    assert found == ((print,), True)


@pytest.mark.parametrize("ref", ["shipments", None])
def test_an_odd_ref_is_looked_up_for_each_event_anew(ref: str | None) -> None:
    """What the next event with the same odd ref says decides who is called for that one."""
    routes = Routes()
    routes.add(print, (parse_pattern("shipments/delivered"),), None)
    moving = {**DELIVERED["event_data"], "phase": "in_transit"}

    assert routes.find(event_with(ref=ref, event_data=moving)).handlers == ()
    assert routes.find(event_with(ref=ref)).handlers == (print,)


def test_an_event_that_does_not_fit_is_not_taken_for_one_with_the_same_ref_that_does() -> None:
    routes = Routes()
    routes.add(print, (parse_pattern("shipments"),), None)
    without_id = {**DELIVERED["event_data"], "shipment_id": None}

    assert routes.find(event_with()).fit
    assert not routes.find(event_with(event_data=without_id)).fit


@pytest.mark.parametrize(
    "ref",
    ["shipments/in_transit/SUCCESSFULLY_DELIVERED", "shipments/new_phase/NEW", "shipments/x/y-1"],
)
def test_a_ref_that_is_not_odd_stands_alone(ref: str) -> None:
    """A handler of parcels that were delivered is not called for one that is on its way."""
    assert addresses_of(event_with(ref=ref)) == (tuple(ref.lower().split("/")),)


def test_a_ref_of_a_source_that_karla_may_add_stands_alone() -> None:
    event = event_with(ref="returns/created", source="returns")
    assert addresses_of(event) == (("returns", "created"),)


@pytest.mark.parametrize("phase", ["delivered", "DELIVERED"])
def test_a_phase_is_found_in_either_case_where_the_ref_is_odd(phase: str) -> None:
    event = event_with(
        ref="shipments/DELIVERED/X", event_data={**DELIVERED["event_data"], "phase": phase}
    )
    assert addresses_of(event)[1] == ("shipments", "delivered", "successfully_delivered")


@pytest.mark.parametrize("ref", [None, "", "delivered", "shipments//X"])
def test_an_event_without_source_is_never_missed_in_silence(ref: str | None) -> None:
    """A handler of shipments wants it, and is not given it: 500, not a silent 200."""
    routes = Routes()
    routes.add(print, (parse_pattern("shipments/delivered"),), None)

    assert routes.find(event_with(ref=ref, source=None)) == ((print,), False)


def test_a_ref_that_contradicts_its_source_counts_as_well() -> None:
    assert addresses_of(event_with(ref="claims/CREATED"))[0] == ("claims", "created")


@pytest.mark.parametrize(
    ("pattern", "remedy"),
    [
        ("shipment/delivered", "'shipments/delivered'"),
        ("Shipments", "'shipments'"),
        ("claim/created", "'claims/created'"),
        ("shipments/deliverd", "'shipments/delivered'"),
        ("shipments/DELIVERED", "'shipments/delivered'"),
        ("shipments/DELIVERED/NEW", "'shipments/delivered/NEW'"),
        ("claims/create", "'claims/created'"),
        ("shipments/delivered/NEW/more", "at most 3 parts"),
        ("claims/created/more", "at most 2 parts"),
        ("shipments/*", "leave out the '*'"),
        ("*/delivered", "leave out the '*'"),
        ("", "empty part"),
        ("/shipments", "empty part"),
        ("shipments/", "empty part"),
        ("shipments//x", "empty part"),
        (" shipments", "a blank"),
        ("shipments delivered", "a blank"),
        ("shipment_delivered", "group='shipment_delivered'"),
        ("delivered", "a phase: write 'shipments/delivered'"),
        ("in_transit/NEW", "write 'shipments/in_transit/NEW'"),
        ("SUCCESSFULLY_DELIVERED", "a source in lower case"),
        ("Returns/label", "a source in lower case"),
        ("shipments.delivered", "several arguments"),
        ("shipments/delivered,claims", "several arguments"),
        ("shipments/delivered;x", "several arguments"),
        ("shipments/gr\xf6\xdfe", "several arguments"),
        ("shipments/SUCCESSFULLY_DELIVERED", "'shipments/delivered/SUCCESSFULLY_DELIVERED'"),
        ("shipments/shipment_delivered", "on(group='shipment_delivered')"),
        ("claims/CLAIM_CREATED", "on(group='claim_created')"),
        (["shipments"], "not list"),
        (None, "not NoneType"),
        (print, "parentheses"),
    ],
)
def test_a_pattern_that_never_matches_is_refused_with_a_suggestion(
    pattern: Any, remedy: str
) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        parse_pattern(pattern)
    assert remedy in str(refusal.value)


@pytest.mark.parametrize("pattern", ["shipments/scanned", "invoices/paid", "claims/withdrawn"])
def test_a_word_that_karla_may_add_is_no_misspelling(pattern: str) -> None:
    assert parse_pattern(pattern).text == pattern


@pytest.mark.parametrize(
    ("fields", "address"),
    [
        ({"ref": None}, ("shipments", "delivered", "successfully_delivered")),
        ({"ref": ""}, ("shipments", "delivered", "successfully_delivered")),
        ({"ref": None, "source": None}, ("shipments", "delivered", "successfully_delivered")),
        ({"ref": None, "source": None, "event_group": "return_label_printed"}, ()),
        (
            {"ref": None, "source": None, "event_group": "claim_updated"},
            ("claims", "successfully_delivered"),
        ),
        (
            {"ref": None, "event_data": {"phase": "DELIVERED", "event_name": "X"}},
            ("shipments", "delivered", "x"),
        ),
        ({"ref": None, "event_data": None}, ("shipments",)),
        ({"ref": None, "event_data": {"event_name": "X"}}, ("shipments",)),
        (
            {"ref": None, "source": "claims", "event_data": {"event_name": "CREATED"}},
            ("claims", "created"),
        ),
        ({"ref": None, "source": "returns"}, ("returns", "SUCCESSFULLY_DELIVERED")),
    ],
)
def test_an_event_without_ref_lies_where_its_other_fields_say(
    fields: dict[str, Any], address: tuple[str, ...]
) -> None:
    assert addresses_of(event_with(**fields)) == (address,)


@pytest.mark.parametrize(
    ("group", "pattern", "event_type"),
    [
        (EventGroup.CLAIM_CREATED, "claims/created", ClaimEvent),
        (EventGroup.CLAIM_UPDATED, "claims/updated", ClaimEvent),
        (EventGroup.SHIPMENT_DELIVERED, "shipments", ShipmentEvent),
        ("return_shipment_in_transit", "shipments", ShipmentEvent),
        ("claim_withdrawn", "claims", ClaimEvent),
        ("return_label_printed", "*", Event),
    ],
)
def test_a_group_needs_the_narrowest_pattern_that_surely_takes_it(
    group: str, pattern: str, event_type: type[Event]
) -> None:
    assert group_pattern(group).text == pattern
    assert group_pattern(group).event_type is event_type


@pytest.mark.parametrize(
    ("group", "remedy"),
    [
        ("shipment_deliverd", "did you mean 'shipment_delivered'"),
        ("SHIPMENT_DELIVERED", "did you mean 'shipment_delivered'"),
        ("claim_create", "did you mean 'claim_created'"),
        ("shipments", "a pattern goes before it"),
        ("claims/created", "a pattern goes before it"),
        (" shipment_delivered", "not ' shipment_delivered'"),
        ("shipment delivered", "a group is an event group"),
        ("", "a group is an event group"),
        (5, "not 5"),
    ],
)
def test_a_group_that_never_matches_is_refused(group: Any, remedy: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        check_group(group)
    assert remedy in str(refusal.value)


@pytest.mark.parametrize("group", [*EventGroup, "shipment_teleported", "return_label_printed"])
def test_a_known_group_is_accepted_and_so_is_a_new_one(group: str) -> None:
    assert check_group(group) == group


@pytest.mark.parametrize("group", list(EventGroup))
def test_every_known_group_is_about_something_known(group: EventGroup) -> None:
    assert group_pattern(group).text != "*"


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        (
            None,
            "a pattern is text, as in 'shipments/delivered', not NoneType"
            " (is the decorator missing its parentheses?)",
        ),
        (
            "",
            "pattern '' has an empty part or a blank: write it like 'shipments/delivered'",
        ),
        (
            "shipments/*",
            "pattern 'shipments/*' never matches: a broader pattern takes all beneath it, so leave"
            " out the '*' and what follows it",
        ),
        (
            "shipments/delivered,claims",
            "pattern 'shipments/delivered,claims' never matches: between slashes a ref has letters,"
            " digits, '_' and '-'; several patterns are several arguments",
        ),
        (
            "RETURNS/label",
            "pattern 'RETURNS/label' never matches: a ref begins with a source in lower case, as in"
            " 'shipments/delivered/SUCCESSFULLY_DELIVERED'",
        ),
        (
            "shipment_delivered",
            "'shipment_delivered' is an event group: write on(group='shipment_delivered')",
        ),
        (
            "claims/created/more",
            "pattern 'claims/created/more' never matches: a ref under 'claims' has at most 2 parts",
        ),
        (
            "shipment/delivered",
            "pattern 'shipment/delivered' never matches: did you mean 'shipments/delivered'?",
        ),
        (
            "shipments/deliverd",
            "pattern 'shipments/deliverd' never matches: did you mean 'shipments/delivered'?",
        ),
    ],
)
def test_a_refusal_of_a_pattern_says_in_full_what_to_write(pattern: Any, said: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        parse_pattern(pattern)
    assert str(refusal.value) == said
