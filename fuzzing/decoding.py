"""The decoder of events, against the reference in `tests/reference.py`. An input is a body."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import Any, TypeAlias

import msgspec

from fuzzing import documents
from fuzzing.promises import Target, promise
from karla_receiver import Event, PayloadError, UnknownEvent, events, parse_event, samples
from tests import reference
from tests.attack_table import load_cases

Parse: TypeAlias = Callable[[bytes], Event]


SHORTEST = (
    b'{"event_group":"x","source":"shipments","event_data":{"shipment_id":"1"}}',
    b'{"event_group":"x","source":"claims","event_data":{"claim_id":"1"}}',
    b'{"event_group":"x","source":"x","event_data":{}}',
)


def check(data: bytes, parse: Parse = parse_event) -> str:
    """Check the promises on one body and return the refusal or the type of the event."""
    expected = reference.raw_event(data)
    try:
        event = parse(data)
    except PayloadError as refusal:
        promise(refusal.status == 400, f"{refusal.reason} is answered {refusal.status}")
        promise(refusal.reason == expected, f"{refusal}, where the reference says {expected!a}")
        return str(refusal.reason)
    promise(not isinstance(expected, str), f"accepted, where the reference says {expected}")
    assert isinstance(expected, dict)
    # As text: 1, 1.0 and True are equal, and so are 0.0 and -0.0.
    promise(repr(event.raw) == repr(expected), "raw is not what was sent")
    kind = type(event).__name__
    promise(kind == reference.kind_of(expected), f"{kind}: {reference.kind_of(expected)} is right")
    _check_fields(event, expected)
    promise(len(repr(event)) < 300 and repr(event).isascii(), "the repr is long or not ASCII")
    again = parse(json.dumps(event.raw).encode())
    promise(repr(again.raw) == repr(event.raw), "raw does not survive being sent on")
    return kind


def _check_fields(event: Event, raw: dict[str, Any]) -> None:
    promise(event.event_group == raw["event_group"], "event_group is not what was sent")
    for place in ("source", "ref"):
        text = raw.get(place) if isinstance(raw.get(place), str) else None
        promise(getattr(event, place) == text, f"{place} is not what was sent")
    if isinstance(event, UnknownEvent):
        promise(event.event_data == reference.event_data_of(raw), "event_data was changed")
        promise(bool(event.problem), "an event is unknown without a reason")
    name = reference.event_data_of(raw).get("event_name")
    promise(event.event_name == (name if isinstance(name, str) else None), "event_name is wrong")
    # These two are ours, whatever the sender calls so.
    sent = {**raw, "raw": event.raw, "problem": getattr(event, "problem", None)}
    _check_fits(event, sent, "event")


def _check_fits(value: Any, sent: Any, where: str) -> None:
    """Check that a field holds what was sent for it, or nothing."""
    if value is None or value in ((), {}):
        return
    if isinstance(value, msgspec.Struct):
        inner: dict[str, Any] = sent if isinstance(sent, dict) else {}
        for field in _fields(type(value)):
            name, inner_value = f"{where}.{field.name}", getattr(value, field.name)
            fits = field.type == str | None and isinstance(inner.get(field.name), str)
            promise(not fits or inner_value is not None, f"{name} is lost")
            _check_fits(inner_value, inner.get(field.name), name)
    elif isinstance(value, tuple):
        assert isinstance(sent, list)
        promise(len(value) == len(sent), f"{where} has {len(value)} of {len(sent)} items")
        for item, sent_item in zip(value, sent, strict=True):
            _check_fits(item, sent_item, f"{where}[]")
    elif isinstance(value, datetime):
        promise(isinstance(sent, str) and value.tzinfo is not None, f"{where} is not aware")
    elif isinstance(value, float):
        promise(type(sent) in {int, float} and value == float(sent), f"{where} is another number")
    else:
        promise(type(value) is type(sent) and value == sent, f"{where} is not what was sent")


_fields = cache(msgspec.structs.fields)


def seeds() -> list[bytes]:
    """Return the samples, the bodies of the table of attacks, and the shortest of each kind."""
    bodies = {case.body for layer in ("core", "adapter") for case in load_cases(layer)}
    return sorted({*bodies, *map(samples.read, samples.names()), *SHORTEST})


def _field_names() -> list[bytes]:
    promised = [getattr(events, name) for name in events.__all__]
    structs = [item for item in promised if hasattr(item, "__struct_fields__")]
    return sorted({f'"{name}":'.encode() for s in structs for name in s.__struct_fields__})


TARGET = Target(
    name="decoding",
    about="any body: PayloadError, or an event that says what the reference reads",
    check=check,
    all_seeds=seeds,
    tokens=[
        *_field_names(),
        *(b'"shipments"', b'"claims"', b"null", b"true", b"false", b"NaN", b"Infinity", b'""'),
        *(b"1e999", b"-0.0", b"5e-324", b"18446744073709551616", b"\\ud800", b"\\u0000", b"\xff"),
        *(b"[[[[[[[[", b"]]]]]]]]", b'{"":', b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xf0\x9f\x94\x91"),
        *(b'"2026-03-05T11:42:08Z"', b'"2026-03-05T11:42:08"', b'"9999-12-31T23:59:59-23:59"'),
    ],
    max_bytes=8192,
    change=documents.change,
)
