"""A decoder with a defect that no seed shows, planted to see that the fuzzer finds one."""

from __future__ import annotations

from dataclasses import replace

from fuzzing import decoding
from karla_receiver import ClaimEvent, Event, parse_event


def careless_parse(body: bytes) -> Event:
    """Parse an event, and count on the ref of a claim to have two parts."""
    event = parse_event(body)
    if isinstance(event, ClaimEvent) and event.ref:
        _source, _name = event.ref.split("/")
    return event


def check(data: bytes) -> str:
    """Check the decoder's promises on the careless one."""
    return decoding.check(data, careless_parse)


TARGET = replace(
    decoding.TARGET,
    name="planted",
    about="a decoder with a planted defect: to see that the fuzzer finds it",
    check=check,
)
