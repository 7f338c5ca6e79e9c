"""Patterns: the strings of Karla's enabled_events, checked so that one that never matches fails."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple, TypeAlias

from karla_receiver.errors import ConfigurationError
from karla_receiver.events import ClaimEvent, Event, ShipmentEvent, sent_data
from karla_receiver.vocabulary import GROUPS, EventGroup, Phase, Source

__all__ = [
    "EVERYTHING",
    "Address",
    "Pattern",
    "addresses_of",
    "check_group",
    "group_pattern",
    "parse_pattern",
]

Address: TypeAlias = tuple[str, ...]

EVERYTHING: Final = "*"


class _Grammar(NamedTuple):
    # What follows the source in a ref: shipments/{phase}/{event_name}, claims/{event_name}.
    event_type: type[Event]
    most_parts: int
    second_parts: tuple[str, ...]


_GRAMMARS: Final[dict[str, _Grammar]] = {
    Source.SHIPMENTS: _Grammar(ShipmentEvent, 3, tuple(Phase)),
    Source.CLAIMS: _Grammar(ClaimEvent, 2, ("created", "updated")),
}


_PHASES: Final = frozenset(map(str, Phase))
_PART: Final = re.compile(r"[A-Za-z0-9_-]+")


class Pattern(NamedTuple):
    """A ref or a leading part of one; `*` is the empty one."""

    text: str
    address: Address

    @property
    def event_type(self) -> type[Event]:
        """The type that every event under this pattern must have."""
        grammar = _GRAMMARS.get(self.address[0]) if self.address else None
        return grammar.event_type if grammar else Event

    def covers(self, address: Address) -> bool:
        """Return whether address is this one or lies below it."""
        return address[: len(self.address)] == self.address


def parse_pattern(text: object) -> Pattern:
    """Read a pattern. Raises ConfigurationError, with a suggestion, if it can never match."""
    if not isinstance(text, str):
        raise ConfigurationError(
            f"a pattern is text, as in 'shipments/delivered', not {type(text).__name__}"
            " (is the decorator missing its parentheses?)"
        )
    if text == EVERYTHING:
        return Pattern(text, ())
    parts = text.split("/")
    if not all(parts) or text.split() != [text]:
        raise ConfigurationError(
            f"pattern {text!a} has an empty part or a blank: write it like 'shipments/delivered'"
        )
    if EVERYTHING in parts:
        raise ConfigurationError(
            f"pattern {text!a} never matches: a broader pattern takes all beneath it, so leave"
            " out the '*' and what follows it"
        )
    _refuse_unmatchable(text, parts)
    return Pattern(str(text), _folded(parts))


def _refuse_unmatchable(text: str, parts: list[str]) -> None:
    for part in parts:
        if not _PART.fullmatch(part):
            raise ConfigurationError(
                f"pattern {text!a} never matches: between slashes a ref has letters, digits, '_'"
                " and '-'; several patterns are several arguments"
            )
    first = parts[0]
    if first in GROUPS:
        raise ConfigurationError(f"{text!a} is an event group: write on(group={text!a})")
    if first in _PHASES:
        raise ConfigurationError(f"{first!a} is a phase: write {f'shipments/{text}'!a}")
    _refuse_misspelt(text, parts, 0, tuple(Source))
    if not first.islower():
        raise ConfigurationError(
            f"pattern {text!a} never matches: a ref begins with a source in lower case, as in"
            " 'shipments/delivered/SUCCESSFULLY_DELIVERED'"
        )
    grammar = _GRAMMARS.get(first)
    if grammar is None:
        return
    if len(parts) > grammar.most_parts:
        raise ConfigurationError(
            f"pattern {text!a} never matches: a ref under {first!a} has at most"
            f" {grammar.most_parts} parts"
        )
    if len(parts) > 1:
        _refuse_second_part(text, parts, grammar)


def _refuse_second_part(text: str, parts: list[str], grammar: _Grammar) -> None:
    _refuse_misspelt(text, parts, 1, grammar.second_parts)
    if parts[1].casefold() in GROUPS:
        raise ConfigurationError(
            f"pattern {text!a} never matches: {parts[1]!a} is an event group; write"
            f" on(group={parts[1].casefold()!a})"
        )
    if grammar.event_type is ShipmentEvent and not parts[1].islower():
        raise ConfigurationError(
            f"pattern {text!a} never matches: after 'shipments' comes a phase in lower case, and"
            f" the event name third, as in {f'shipments/delivered/{parts[1]}'!a}"
        )


def check_group(group: object) -> str:
    """Return an event group. Raises ConfigurationError, with a suggestion, if none can match."""
    if not isinstance(group, str) or not _PART.fullmatch(group) or group in set(Source):
        raise ConfigurationError(
            f"a group is an event group, as in 'shipment_delivered', not {group!a}; a pattern"
            " goes before it"
        )
    # Closer than for patterns: groups are many, and a new one may well resemble an old one.
    nearest = None if group in GROUPS else _nearest(group, GROUPS, 0.95)
    if nearest is not None:
        raise ConfigurationError(f"group {group!a} never matches: did you mean {nearest!a}?")
    return group


def _refuse_misspelt(text: str, parts: list[str], place: int, known: tuple[str, ...]) -> None:
    # Only near misses: the vocabularies are open, and Karla may add a word at any time.
    part = parts[place]
    if part in known or _folded(parts)[place] in known:
        return
    nearest = _nearest(part, known, 0.85)
    if nearest is not None:
        better = "/".join([*parts[:place], nearest, *parts[place + 1 :]])
        raise ConfigurationError(f"pattern {text!a} never matches: did you mean {better!a}?")


def _nearest(word: str, known: Iterable[str], cutoff: float) -> str | None:
    # Not at the top: it costs every import time that only a mistake, or a new word, needs.
    from difflib import get_close_matches

    found = get_close_matches(word.lower(), list(known), n=1, cutoff=cutoff)
    return found[0] if found else None


def _folded(parts: list[str]) -> Address:
    # Karla writes event names in either case; sources and phases in one.
    name = 1 if parts[0] == Source.CLAIMS else 2
    return (*parts[:name], *(part.casefold() for part in parts[name:]))


def addresses_of(event: Event) -> tuple[Address, ...]:
    """Return where event lies: at its ref, or at what Karla would make its ref of.

    Two if its ref is odd, incomplete or contradicts its source: no such ref leads past a handler
    that wants the event. A ref that is not odd is the only address, whatever the event's data say.
    """
    if not event.ref:
        return (_derived_address(event),)
    parts = event.ref.split("/")
    address = _folded(parts)
    if event.source in {None, parts[0]} and _is_usual(parts):
        return (address,)
    return (address, _derived_address(event))


def _is_usual(parts: list[str]) -> bool:
    """Return whether a ref has the form in which Karla documents it, with words old or new."""
    if not all(map(_PART.fullmatch, parts)) or not parts[0].islower():
        return False
    grammar = _GRAMMARS.get(parts[0])
    if grammar is None:
        return len(parts) > 1
    # All that come before the event's name are in lower case.
    return len(parts) == grammar.most_parts and "".join(parts[:-1]).islower()


def _derived_address(event: Event) -> Address:
    """Return what Karla would make an event's ref of: its source, phase and name."""
    source = event.source or _source_of_group(event.event_group)
    if source is None:
        return ()
    data = sent_data(event)
    names = ("phase", "event_name") if source == Source.SHIPMENTS else ("event_name",)
    parts = [source]
    for name in names:
        part: object = data.get(name)
        if not isinstance(part, str):
            break
        parts.append(part.casefold() if name == "phase" else part)
    return _folded(parts)


def group_pattern(group: str) -> Pattern:
    """Return the narrowest pattern known to take every event of a group.

    Karla subscribes to refs, and only of claims is it documented which ref goes with which group.
    """
    if group == EventGroup.CLAIM_CREATED:
        return parse_pattern("claims/created")
    if group == EventGroup.CLAIM_UPDATED:
        return parse_pattern("claims/updated")
    return parse_pattern(_source_of_group(group) or EVERYTHING)


def _source_of_group(group: str) -> str | None:
    """Return what the events of a group are about, if its name says so."""
    if group.startswith(("shipment_", "return_shipment_")):
        return Source.SHIPMENTS
    return Source.CLAIMS if group.startswith("claim_") else None
