"""A report of what recorded deliveries have that the types do not know, without personal data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from karla_receiver import Reason, samples
from karla_receiver.cli.recording import Recorded
from tests.cli.running import Run, run

EVENT: dict[str, Any] = json.loads(samples.read("shipment_delivered"))
CLAIM: dict[str, Any] = json.loads(samples.read("claim_created"))

Record = Callable[..., str]


@pytest.fixture(name="record")
def _record(tmp_path: Path) -> Record:
    """Return what records bodies in a file, and returns its name."""

    def record(*bodies: object, name: str = "all.jsonl", **changes: Any) -> str:
        path = tmp_path / name
        path.write_bytes(
            b"".join(msgspec.json.encode(_recorded(each, changes)) + b"\n" for each in bodies)
        )
        return str(path)

    return record


def _recorded(body: object, changes: dict[str, Any]) -> Recorded:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    facts: dict[str, Any] = {"received_at": 0.0, "headers": [], **changes}
    return Recorded(**facts, body=content)


def found(file: str, *options: str) -> list[tuple[Any, ...]]:
    """Return what is unknown: type, what, of, kinds."""
    told = run("drift", file, *options, "--json")
    *findings, summary = told.lines
    rows = [
        (each["type"], each["what"], each["of"], *each["kinds"])
        for each in findings
        if each["type"] != "never"
    ]
    assert summary["is_known"] == (not rows)
    assert told.status == (1 if rows else 0)
    return rows


def changed(path: str, value: object, event: dict[str, Any] = EVENT) -> dict[str, Any]:
    """Return an event with another value at a path."""
    name, _, rest = path.partition(".")
    inner = event.get(name)
    new = changed(rest, value, inner if isinstance(inner, dict) else {}) if rest else value
    return {**event, name: new}


def without(name: str, event: dict[str, Any] = EVENT) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key != name}


def test_a_known_event_exits_with_0(record: Record) -> None:
    assert found(record(EVENT)) == []
    assert run("drift", record(EVENT)).output.startswith("1 delivery: nothing is unknown.\n")


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (changed("new", "x"), ("field", "new", "Event", "text")),
        (changed("raw", {}), ("field", "raw", "Event", "object")),
        (changed("problem", 1), ("field", "problem", "Event", "integer")),
        (changed("context.new", 1.5), ("field", "context.new", "Context", "number")),
        (
            changed("context.order.new", True),
            ("field", "context.order.new", "Order", "true or false"),
        ),
        (
            changed("context.customer.new", None),
            ("field", "context.customer.new", "Customer", "null"),
        ),
        (changed("event_data.new", []), ("field", "event_data.new", "Shipment", "list")),
        (changed("event_data.new", [], CLAIM), ("field", "event_data.new", "Claim", "list")),
        (
            changed("context.order.products", [{"images": [{"new": 1}, {"new": "x"}]}]),
            ("field", "context.order.products[].images[].new", "Image", "integer", "text"),
        ),
        (changed("ref", "shipments/lost/LOST"), ("ref", "shipments/lost/LOST", None)),
        (changed("ref", "shipments/delivered"), ("ref", "shipments/delivered", None)),
        (changed("ref", "claims/Closed", CLAIM), ("ref", "claims/Closed", None)),
        (changed("ref", "orders/paid"), ("ref", "orders/paid", None)),
        (changed("ref", ""), ("ref", "(0 characters)", None)),
        (changed("event_group", "shipment_lost"), ("word", "shipment_lost", "event_group")),
        (changed("version", 2), ("word", "2", "version")),
        (changed("event_data.phase", "lost"), ("word", "lost", "event_data.phase")),
        (changed("event_data.direction", "up"), ("word", "up", "event_data.direction")),
        (changed("event_data.event_group", "x"), ("word", "x", "event_data.event_group")),
        (changed("event_data.reason", "moths", CLAIM), ("word", "moths", "event_data.reason")),
        (changed("event_data.status", "lost", CLAIM), ("word", "lost", "event_data.status")),
        (
            changed("event_data.event_name", "closed", CLAIM),
            ("word", "closed", "event_data.event_name"),
        ),
        (
            changed("event_data.resolution_preference", "cash", CLAIM),
            ("word", "cash", "event_data.resolution_preference"),
        ),
    ],
)
def test_what_the_types_do_not_know(
    event: object, expected: tuple[Any, ...], record: Record
) -> None:
    assert found(record(event)) == [expected]


@pytest.mark.parametrize(
    "event",
    [
        changed("ref", "claims/CREATED", CLAIM),
        changed("event_data.event_name", "CREATED", CLAIM),
        changed("ref", "shipments/delivered/any-new_name"),
        changed("context.shipments", [{"anything": 1}]),
        changed("context.claims", [{"anything": 1}]),
        changed("context.order.weight", None),
        changed("context.order.products", None),
        changed("context", None),
        changed("context.order.products", []),
        without("ref"),
        without("context"),
    ],
)
def test_what_the_types_know_or_leave_open(event: object, record: Record) -> None:
    assert found(record(event)) == []


@pytest.mark.parametrize(
    ("event", "path", "of", "kind"),
    [
        (
            changed("shop_slug", 1),
            "shop_slug",
            "Event",
            "integer (Expected `str | null`, got `int`)",
        ),
        (changed("context", []), "context", "Event", "list (Expected `object`, got `array`)"),
        (
            changed("context.order", "x"),
            "context.order",
            "Context",
            "text (Expected `object | null`, got `str`)",
        ),
        (
            changed("context.order.weight", "x"),
            "context.order.weight",
            "Order",
            "text (Expected `float | null`, got `str`)",
        ),
        (
            changed("triggered_at", "2026-01-01T00:00:00"),
            "triggered_at",
            "Event",
            "text (Expected `datetime` with a timezone component)",
        ),
        (
            changed("triggered_at", "x"),
            "triggered_at",
            "Event",
            "text (Invalid RFC3339 encoded datetime)",
        ),
        (
            changed("context.order.segments", ["a", 1]),
            "context.order.segments[]",
            "Order",
            "integer (Expected `str`, got `int`)",
        ),
        (
            changed("context.order.products", [None]),
            "context.order.products[]",
            "Order",
            "null (Expected `object`, got `null`)",
        ),
        (
            changed("context.order.products", {"0": {}}),
            "context.order.products",
            "Order",
            "object (Expected `array`, got `object`)",
        ),
        (changed("event_data", []), "event_data", "Event", "list (Expected `object`, got `array`)"),
        (
            changed("event_data", None),
            "event_data",
            "Event",
            "null (Expected `object`, got `null`)",
        ),
        (
            changed("event_data.shipment_id", ""),
            "event_data.shipment_id",
            "Shipment",
            "text (Expected `str` of length >= 1)",
        ),
        (
            changed("event_data.shipment_id", None),
            "event_data.shipment_id",
            "Shipment",
            "null (Expected `str`, got `null`)",
        ),
        (
            changed("event_data", without("shipment_id", EVENT["event_data"])),
            "event_data.shipment_id",
            "Shipment",
            "absent",
        ),
        (without("event_data"), "event_data", "Event", "absent"),
    ],
)
def test_what_does_not_fit_its_type(
    event: object, path: str, of: str, kind: str, record: Record
) -> None:
    assert found(record(event)) == [("misfit", path, of, kind)]


def test_the_data_of_an_unknown_source_is_open(record: Record) -> None:
    event = changed("source", "orders", changed("event_data", {"anything": 1}))
    assert found(record(event)) == [("word", "orders", "source")]


def test_a_source_that_is_no_text_is_told(record: Record) -> None:
    assert found(record(changed("source", ["x"]))) == [
        ("misfit", "source", "Event", "list (Expected `str | null`, got `array`)")
    ]


@pytest.mark.parametrize(
    ("body", "reason"), [(b"nope", "invalid_json"), (b"[]", "invalid_envelope")]
)
def test_a_body_that_is_no_event_is_told_by_its_reason(
    body: bytes, reason: str, record: Record
) -> None:
    assert found(record(body)) == [("no_event", reason, None)]


def findings(told: Run, kind: str) -> dict[str, tuple[int, str]]:
    return {
        each["what"]: (each["count"], each["first"]) for each in told.lines if each["type"] == kind
    }


def test_it_counts_deliveries_and_names_the_first(record: Record) -> None:
    often = changed("context.order.products", [{"new": 1}, {"new": 2}])
    one = record(EVENT, changed("rare", 1), often, name="one")
    two = record(often, name="two")
    told = run("drift", one, two, "--json")
    assert findings(told, "field") == {
        "context.order.products[].new": (2, "one:3"),
        "rare": (1, "one:2"),
    }
    assert list(findings(told, "field")) == ["context.order.products[].new", "rare"]
    assert told.lines[-1] == {"type": "summary", "deliveries": 4, "is_known": False}


def test_known_fields_that_never_came(record: Record) -> None:
    told = run("drift", record(changed("context.order.products", [])), "--json")
    never = {(each["what"], each["of"]) for each in told.lines if each["type"] == "never"}
    assert ("event_data.event_time", "Shipment") in never
    # Of claims, and of what is in products, nothing is known: none came.
    assert not [what for what, of in never if of in {"Claim", "Product"}]
    told = run("drift", record(EVENT, CLAIM), "--json")
    never = {(each["what"], each["of"]) for each in told.lines if each["type"] == "never"}
    assert ("context.order.products[].size", "Product") in never
    assert ("event_data.event_id", "Claim") in never
    assert ("event_data", "Event") not in never
    assert all(each["count"] == 0 for each in told.lines if each["type"] == "never")


def test_of_what_may_be_forged_nothing_is_told(record: Record) -> None:
    forged = record(changed("new", 1), reason="signature_mismatch", name="forged")
    cut = record(changed("new", 1), is_whole=False, name="cut")
    told = run("drift", record(EVENT), forged, cut)
    assert told.status == 0
    assert told.told == "left out: 2 deliveries that may be forged or have no end of the body"
    assert found(forged, "--refused") == [("field", "new", "Event", "integer")]


def test_if_nothing_is_left_it_exits_with_2(record: Record) -> None:
    told = run("drift", record(EVENT, reason="no_v1"))
    assert (told.status, told.output) == (2, "")
    assert "nothing is left to look at: --refused adds what may be forged" in told.told


@pytest.mark.parametrize("reason", ["timestamp_too_old", "undecodable_event", "handler_error"])
def test_what_was_refused_with_a_signature_that_fits_counts(reason: str, record: Record) -> None:
    assert found(record(changed("new", 1), reason=reason)) == [("field", "new", "Event", "integer")]


def test_every_reason_before_the_signature_fits_is_left_out(record: Record) -> None:
    before = (
        *("bad_content_length", "body_incomplete", "body_too_large", "client_disconnected"),
        *("https_required", "length_required", "malformed_header", "method_not_allowed"),
        *("missing_signature", "no_v1", "signature_mismatch", "of another version"),
    )
    for reason in {*before, *Reason}:
        told = run("drift", record(EVENT, reason=reason))
        assert (told.status == 2) == (reason in before)


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "No such file or directory"), (b"", "is empty"), (b"diary", "is no recorded delivery")],
)
def test_unusable_input_exits_with_2(content: bytes | None, told: str, tmp_path: Path) -> None:
    path = tmp_path / "it"
    if content is not None:
        path.write_bytes(content)
    ended = run("drift", path)
    assert (ended.status, ended.output) == (2, "")
    assert told in ended.told


def test_standard_input_is_read(record: Record) -> None:
    line = Path(record(changed("new", 1))).read_bytes()
    assert findings(run("drift", "-", "--json", stdin=line), "field") == {"new": (1, "-:1")}


def test_the_report_for_people(record: Record) -> None:
    weight = changed("context.order.weight", "heavy", changed("new", 1))
    file = record(EVENT, weight, changed("event_group", "new_group", changed("new", "x")))
    told = run("drift", file)
    assert told.status == 1
    assert told.output.splitlines()[:7] == [
        "3 deliveries: not all is known.",
        "Unknown words",
        "  new_group (event_group): 1 of 3, first all.jsonl:3",
        "Unknown fields",
        "  new (Event), integer, text: 2 of 3, first all.jsonl:2",
        "Fields that do not fit their type, and are left out",
        "  context.order.weight (Order), text (Expected `float | null`, got `str`):"
        " 1 of 3, first all.jsonl:2",
    ]
    assert told.output.splitlines()[7] == "Known fields that never came"


PERSONAL = ("Max Mustermann", "max@example.org", "+49 170 1234567", "\x1b[31m", "x" * 61)
IDS = ("12345", "7b0f3e52-8f0e-4f6e-9a39-1f5f6c0d2a11", "+4917012345")


@pytest.mark.parametrize("text", [*PERSONAL, *IDS])
def test_names_and_words_that_could_be_a_persons_are_not_shown(text: str, record: Record) -> None:
    event = changed("event_group", text, {**EVENT, text: {text: text}})
    event = changed("ref", f"shipments/{text}/x", changed("source", "shipments", event))
    told = run("drift", record(event, changed("event_data.reason", text, CLAIM)))
    assert f"({len(text)} characters) (event_group)" in told.output
    assert f"({len(text)} characters) (Event), object" in told.output
    assert f"shipments/({len(text)} characters)/x:" in told.output
    assert text not in told.output
    assert "\x1b" not in told.output


def test_a_ref_of_many_parts_is_cut(record: Record) -> None:
    assert found(record(changed("ref", "a/" * 1000))) == [("ref", "a/a/a/a/a/a", None)]


@pytest.mark.parametrize("name", samples.names())
def test_no_value_of_a_sample_is_in_its_report(name: str, record: Record) -> None:
    event = json.loads(samples.read(name))
    wrong = changed("context", _all_misfits(event.get("context", {})), event)
    output = run("drift", record(wrong)).output
    for value in _texts(wrong["context"]):
        assert f" {value}" not in output, value


def _all_misfits(value: object) -> object:
    """Return the same with every number as text and every text in an object."""
    if isinstance(value, dict):
        return {name: _all_misfits(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_all_misfits(each) for each in value]
    return {"new": value} if isinstance(value, str) else f"text {value}"


def _texts(value: object) -> list[str]:
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return [text for each in inner for text in _texts(each)]
    return [value] if isinstance(value, str) and value else []


ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9**20) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
PATHS = [
    *("source", "ref", "version", "context", "event_data", "context.order", "context.customer"),
    *("context.order.products", "context.order.address", "event_data.phase"),
]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([EVENT, CLAIM]), st.sampled_from(PATHS), ANY)
def test_whatever_was_sent_is_reported(
    record: Record, event: dict[str, Any], path: str, value: object
) -> None:
    content = msgspec.json.encode(changed(path, value, event))
    told = run("drift", record(content))
    assert told.status in {0, 1}
    assert told.output.startswith("1 delivery: ")
