"""The command `drift`: what recorded deliveries have that the types of this package do not know."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Annotated, Any, Final, NamedTuple, get_args, get_origin

import msgspec
import typer

from karla_receiver import (
    ClaimEvent,
    ClaimReason,
    ClaimStatus,
    ConfigurationError,
    Direction,
    Event,
    EventGroup,
    PayloadError,
    Phase,
    Reason,
    ResolutionPreference,
    ShipmentEvent,
    Source,
    parse_event,
)
from karla_receiver.checks import printable
from karla_receiver.cli.content import file_content
from karla_receiver.cli.output import write_json
from karla_receiver.cli.recording import Recorded, decoded
from karla_receiver.cli.terminal import Terminal
from karla_receiver.testing.json_values import is_list, is_object

__all__ = ["drift"]

_TITLES: Final = {
    "no_event": "Bodies that are no event",
    "ref": "Unknown refs",
    "word": "Unknown words",
    "field": "Unknown fields",
    "misfit": "Fields that do not fit their type, and are left out",
    "never": "Known fields that never came",
}

# Of what was refused, these were: the signature fits before any of them is given.
_GENUINE: Final = {
    None,
    Reason.INVALID_JSON,
    Reason.INVALID_ENVELOPE,
    Reason.TIMESTAMP_TOO_OLD,
    Reason.TIMESTAMP_IN_FUTURE,
    Reason.IN_PROGRESS,
    Reason.HANDLER_ERROR,
    Reason.UNDECODABLE_EVENT,
    Reason.RETRY_LATER,
    Reason.UNAVAILABLE,
}

_EVENT_TYPES: Final[dict[object, type[Event]]] = {
    Source.SHIPMENTS: ShipmentEvent,
    Source.CLAIMS: ClaimEvent,
}
_CLAIM_NAMES: Final = frozenset({"created", "updated"})
# What follows a source in a ref, and how many parts the ref has. Names of shipment events are open.
_REFS: Final[dict[str, tuple[frozenset[str], int]]] = {
    Source.SHIPMENTS: (frozenset(Phase), 3),
    Source.CLAIMS: (_CLAIM_NAMES, 2),
}
# Each vocabulary, by the type and the field that it is for.
_WORDS: Final[dict[tuple[str, str], frozenset[str]]] = {
    ("Event", "event_group"): frozenset(EventGroup),
    ("Event", "source"): frozenset(Source),
    ("Event", "version"): frozenset({"1"}),
    ("Shipment", "event_group"): frozenset(EventGroup),
    ("Shipment", "phase"): frozenset(Phase),
    ("Shipment", "direction"): frozenset(Direction),
    ("Claim", "event_group"): frozenset(EventGroup),
    ("Claim", "event_name"): frozenset({*_CLAIM_NAMES, *map(str.upper, _CLAIM_NAMES)}),
    ("Claim", "reason"): frozenset(ClaimReason),
    ("Claim", "status"): frozenset(ClaimStatus),
    ("Claim", "resolution_preference"): frozenset(ResolutionPreference),
}
_ADDED_BY_US: Final = {"raw", "problem"}  # which no sender knows

_WORD: Final = re.compile(r"[\w.:+-]{1,60}")
_ID: Final = re.compile(r"[0-9.:+-]*|[0-9a-fA-F-]{12,}")
_MOST_PARTS: Final = 6
_KINDS: Final[dict[type, str]] = {
    str: "text",
    bool: "true or false",
    int: "integer",
    float: "number",
    list: "list",
    type(None): "null",
}


class _Seen(NamedTuple):
    """Something that a delivery has, or lacks.

    kind: as in _TITLES. what: a path, a word or a ref. of: the type that the field belongs to, or
    the path at which the word stands.
    """

    kind: str
    what: str
    of: str = ""


@dataclass(slots=True, kw_only=True)
class _Finding:
    """Something that was seen, in how many deliveries, in which first, and as which kinds."""

    seen: _Seen
    count: int = 0
    first: str | None = None
    kinds: set[str] = field(default_factory=set[str])


def drift(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="FILE", help="What `karla-receiver listen --record` wrote."),
    ],
    with_refused: Annotated[
        bool,
        typer.Option("--refused", help="Those too that were refused: they may be forged."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write JSON, an object a finding, for programs.")
    ] = False,
) -> None:
    """Report what recorded deliveries have that the types do not know.

    Lists new fields, words and refs, how often they came and in which
    delivery first; fields that did not fit their type and so were left out;
    and known fields that never came. It is a report to send to Karla or us.

    A recording holds personal data, the report does not: it has names and
    kinds. It shows values of vocabularies alone, as of event_group, phase,
    status and reason, and only if they are one word. What was refused and
    may be forged is left out.

    Examples:

      karla-receiver drift deliveries.jsonl
      karla-receiver drift monday.jsonl tuesday.jsonl --json

    Exit status: 0 if nothing is unknown, 1 if something is, 2 for wrong
    usage, such as a file that is no recording.
    """
    report = _Report()
    left_out = 0
    for source in sources:
        name = PurePath(source).name  # whoever gets the report need not know the folder
        for line, delivery in decoded(file_content(source), source).items():
            if delivery.is_cut or not (with_refused or delivery.reason in _GENUINE):
                left_out += 1
            else:
                report.add(delivery, f"{name}:{line}")
    if left_out:
        told = (
            "1 delivery that may be forged or has"
            if left_out == 1
            else (f"{left_out} deliveries that may be forged or have")
        )
        typer.echo(f"left out: {told} no end of the body", err=True)
    if not report.deliveries:
        raise ConfigurationError("nothing is left to look at: --refused adds what may be forged")
    findings = report.findings()
    is_known = all(finding.seen.kind == "never" for finding in findings)
    if as_json:
        for finding in findings:
            write_json(_as_object(finding))
        write_json({"type": "summary", "deliveries": report.deliveries, "is_known": is_known})
    else:
        _show(findings, report.deliveries, is_known=is_known)
    raise typer.Exit(0 if is_known else 1)


class _Report:
    """What was seen in the deliveries that were added."""

    def __init__(self) -> None:
        self.deliveries = 0
        self._found: dict[_Seen, _Finding] = {}
        self._came: set[tuple[str, str]] = set()  # path and type of fields
        self._objects: set[tuple[str, type[msgspec.Struct]]] = set()  # path and type
        self._types: set[type[Event]] = set()

    def add(self, delivery: Recorded, where: str) -> None:
        """Look at a delivery. where: what to call it."""
        self.deliveries += 1
        kinds: dict[_Seen, set[str]] = {}
        for seen, kind in self._look(delivery.body):
            kinds.setdefault(seen, set()).add(kind)
        for seen in kinds:
            finding = self._found.setdefault(seen, _Finding(seen=seen, first=where))
            finding.count += 1  # of deliveries, however often it is in one
            finding.kinds |= kinds[seen]

    def findings(self) -> list[_Finding]:
        """Return what was seen, kind by kind, the most frequent first."""
        found = sorted(self._found.values(), key=lambda finding: -finding.count)
        missing = {seen for each in self._types for seen in self._missing(each, "")}
        found += [_Finding(seen=seen) for seen in sorted(missing)]
        return [finding for kind in _TITLES for finding in found if finding.seen.kind == kind]

    def _look(self, body: bytes) -> Iterator[tuple[_Seen, str]]:
        """Yield what a body has that is unknown, each with its kind of value."""
        try:
            event = parse_event(body)
        except PayloadError as error:
            yield _Seen("no_event", error.reason), ""
            return
        event_type = _EVENT_TYPES.get(event.source, Event)
        self._types.add(event_type)
        if event.ref is not None and not _is_known(event.ref):
            yield _Seen("ref", "/".join(map(_shown, event.ref.split("/")[:_MOST_PARTS]))), ""
        yield from self._in_object(event.raw, event_type, "")

    def _in_object(
        self, value: dict[str, Any], struct: type[msgspec.Struct], path: str
    ) -> Iterator[tuple[_Seen, str]]:
        self._objects.add((path, struct))
        known, of = _fields(struct), _name(struct)
        for name, each in value.items():
            place = _below(path, _shown(name))
            if name in known:
                self._came.add((place, of))
                is_left_out = each is None and not known[name].required
                if not is_left_out:
                    yield from self._in_value(each, known[name].type, place, of)
                word = str(each) if type(each) in {str, int} else None
                if word is not None and word not in _WORDS.get((of, name), {word}):
                    yield _Seen("word", _shown(word, is_number=type(each) is int), place), ""
            elif (struct, name) != (Event, "event_data"):  # that of an unknown source is open
                yield _Seen("field", place, of), _kind(each)
        for name, info in known.items():
            if info.required and name not in value:
                yield _Seen("misfit", _below(path, name), of), "absent"

    def _in_value(
        self, value: object, annotation: Any, path: str, of: str
    ) -> Iterator[tuple[_Seen, str]]:
        struct, is_array = _struct_in(annotation), get_origin(annotation) is tuple
        if is_array and is_list(value):
            for each in value:
                yield from self._in_value(each, get_args(annotation)[0], f"{path}[]", of)
        elif struct is not None and not is_array and is_object(value):
            yield from self._in_object(value, struct, path)
        else:
            try:
                msgspec.convert(value, annotation)
            except msgspec.ValidationError as error:
                # The text of msgspec's errors names types, and no value.
                yield _Seen("misfit", path, of), f"{_kind(value)} ({error})"

    def _missing(self, struct: type[msgspec.Struct], path: str) -> Iterator[_Seen]:
        """Yield the known fields that never came, but not those of objects that never came."""
        for name, info in _fields(struct).items():
            place = _below(path, name)
            if (place, _name(struct)) not in self._came:
                yield _Seen("never", place, _name(struct))
            inner = _struct_in(info.type)
            below = f"{place}[]" if get_origin(info.type) is tuple else place
            if inner is not None and (below, inner) in self._objects:
                yield from self._missing(inner, below)


def _fields(struct: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    found = {info.name: info for info in msgspec.structs.fields(struct)}
    return {name: info for name, info in found.items() if name not in _ADDED_BY_US}


def _name(struct: type[msgspec.Struct]) -> str:
    return "Event" if issubclass(struct, Event) else struct.__name__


def _struct_in(annotation: Any) -> type[msgspec.Struct] | None:
    """Return the struct in `S`, `S | None` or `tuple[S, ...]`, if there is one."""
    for member in (annotation, *get_args(annotation)):
        if isinstance(member, type) and issubclass(member, msgspec.Struct):
            return member
    return None


def _is_known(ref: str) -> bool:
    source, *rest = ref.split("/")
    seconds, parts = _REFS.get(source, (frozenset[str](), 0))
    if len(rest) != parts - 1 or not all(map(_WORD.fullmatch, rest)):
        return False
    # Karla writes the names of events in either case.
    return (rest[0].casefold() if source == Source.CLAIMS else rest[0]) in seconds


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _shown(text: str, *, is_number: bool = False) -> str:
    """Return a name or a word; of anything that could be a person's, an id or prose, its length."""
    is_word = _WORD.fullmatch(text) and (is_number or not _ID.fullmatch(text))
    return printable(text) if is_word else f"({len(text)} characters)"


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "object")


def _as_object(finding: _Finding) -> dict[str, object]:
    kind, what, of = finding.seen
    facts = {"count": finding.count, "first": finding.first, "kinds": sorted(finding.kinds - {""})}
    return {"type": kind, "what": what, "of": of or None, **facts}


def _show(findings: list[_Finding], deliveries: int, *, is_known: bool) -> None:
    terminal = Terminal()
    many = "1 delivery" if deliveries == 1 else f"{deliveries} deliveries"
    terminal.print(f"{many}: {'nothing is unknown' if is_known else 'not all is known'}.")
    for kind, title in _TITLES.items():
        rows = [finding for finding in findings if finding.seen.kind == kind]
        if rows:
            terminal.print(title, style="bold")
        for finding in rows:
            _, what, of = finding.seen
            place = f" ({of})" if of else ""
            kinds = f", {', '.join(sorted(finding.kinds - {''}))}" if any(finding.kinds) else ""
            times = f": {finding.count} of {deliveries}, first {printable(finding.first or '')}"
            terminal.print(f"  {what}{place}{kinds}{times if finding.count else ''}")
