"""From a genuine body to a typed event, in two stages.

The first reads all of the JSON and refuses only what cannot be represented safely. The second
fits the result into the types, and never refuses: a field that does not fit is left out, and
an event that does not fit is an UnknownEvent.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, cast, get_args, get_origin

import msgspec
from msgspec.structs import FieldInfo, force_setattr

from karla_receiver.checks import checked_body
from karla_receiver.errors import PayloadError, Reason
from karla_receiver.events import ClaimEvent, Event, JSONObject, ShipmentEvent, UnknownEvent

__all__ = ["brackets", "parse_event"]

_MAX_DEPTH = 64
_SMALL_BYTES = 65_536

_decode_json = msgspec.json.Decoder().decode


def parse_event(body: bytes) -> Event:
    """Decode a body into a ShipmentEvent, a ClaimEvent or an UnknownEvent.

    body: the raw bytes, verified before: this function cannot tell whether they are genuine.
    Raises PayloadError with invalid_json if the body is not JSON that can be represented safely
    (UTF-8 without BOM, RFC 8259, finite numbers of at most 4,300 characters, no lone
    surrogates, at most 64 levels deep), with invalid_envelope if it is not an object with an
    event_group; TypeError if the body is not bytes.
    """
    value = _json(body if type(body) is bytes else checked_body(body))
    event = _usual(value)
    if event is not None:
        return event
    raw = _envelope(value)
    event_type = _type_of(raw)
    if event_type is None:
        return _unknown(raw, "source: neither 'shipments' nor 'claims'")
    try:
        fitted: Event = _Fitting().fit(raw, event_type)
    except msgspec.ValidationError as error:
        return _unknown(raw, str(error))
    force_setattr(fitted, "raw", raw)
    return fitted


def _usual(value: object) -> Event | None:
    """Convert what fits its type as it is: then one check of the envelope is left."""
    if type(value) is not dict:
        return None
    raw = cast("JSONObject", value)
    event_type = _type_of(raw)
    if event_type is None:
        return None
    try:
        event = msgspec.convert(raw, event_type)
    except msgspec.ValidationError:
        return None
    if not event.event_group:
        return None
    force_setattr(event, "raw", raw)
    return event


def _type_of(raw: JSONObject) -> type[ShipmentEvent | ClaimEvent] | None:
    source = raw.get("source")
    if source == "shipments":
        return ShipmentEvent
    return ClaimEvent if source == "claims" else None


def _json(body: bytes) -> object:
    try:
        value = _decode_json(body)
    except (ValueError, msgspec.MsgspecError, RecursionError) as error:
        # ValueError: not UTF-8, or an integer over the interpreter's limit of digits.
        raise PayloadError(Reason.INVALID_JSON, _in_short(error)) from None
    # Each level takes a bracket: so few of them prove the limit, for nearly every real event.
    if brackets(body) > _MAX_DEPTH:
        _refuse_too_deep(value)
    return value


def brackets(body: bytes) -> int:
    """Return how many objects and arrays a body can open at most."""
    if len(body) <= _SMALL_BYTES:
        # Taking brackets out jumps from one to the next; counting looks at each byte.
        return 2 * len(body) - len(body.replace(b"[", b"")) - len(body.replace(b"{", b""))
    return body.count(b"[") + body.count(b"{")  # without a copy


def _in_short(error: Exception) -> str:
    # The text of msgspec's own errors names a kind and a place; others quote the body.
    return str(error) if isinstance(error, msgspec.MsgspecError) else type(error).__name__


def _refuse_too_deep(value: object) -> None:
    # The interpreter's own limit differs from version to version: without one of ours the same
    # event would be accepted on one machine and refused on the next.
    level: list[Any] = [value]
    for _ in range(_MAX_DEPTH):
        level = [
            child
            for container in level
            if container
            for child in _children(container)
            if isinstance(child, (dict, list))  # dict | list takes twice as long
        ]
        if not level:
            return
    raise PayloadError(Reason.INVALID_JSON, f"deeper than {_MAX_DEPTH} levels")


def _children(container: Any) -> Iterable[Any]:
    return cast("JSONObject", container).values() if isinstance(container, dict) else container


def _envelope(value: object) -> JSONObject:
    if not isinstance(value, dict):
        raise _invalid_envelope("not an object")
    raw = cast("JSONObject", value)
    event_group = raw.get("event_group")
    if not isinstance(event_group, str) or not event_group:
        # Karla's own receiver insists on this field. Any other that does not fit is left out.
        raise _invalid_envelope("event_group is not a text of at least one character")
    return raw


def _invalid_envelope(detail: str) -> PayloadError:
    return PayloadError(Reason.INVALID_ENVELOPE, detail)


def _unknown(raw: JSONObject, problem: str) -> Event:
    event: Event = _Fitting().fit({**raw, "problem": problem}, UnknownEvent)
    force_setattr(event, "raw", raw)
    return event


class _Fitting:
    """Converts what fits of one event, and leaves out each optional field that does not."""

    def __init__(self) -> None:
        # Looking into what does not fit costs far more than reading it, and a body may hold a
        # hundred thousand misfits: after these many, a list that does not fit is left out whole.
        self._looks = 1000

    def fit(self, value: object, annotation: Any) -> Any:
        """Convert a value as far as it fits.

        Raises msgspec.ValidationError if value itself, or a required field in it, does not.
        """
        try:
            return msgspec.convert(value, annotation)
        except msgspec.ValidationError:
            struct, is_array = _struct_in(annotation)
            if struct is None or self._looks == 0:
                raise
            self._looks -= 1
            if is_array and isinstance(value, list):
                return tuple(self.fit(item, struct) for item in cast("list[object]", value))
            if not is_array and isinstance(value, dict):
                return self._fit_fields(cast("JSONObject", value), struct)
            raise

    def _fit_fields(self, value: JSONObject, struct: type[msgspec.Struct]) -> msgspec.Struct:
        fitting: dict[str, Any] = {}
        for field in _fields(struct):
            if field.name not in value and not field.required:
                continue
            try:
                fitting[field.name] = self.fit(value.get(field.name), field.type)
            except msgspec.ValidationError as error:
                if field.required:
                    raise msgspec.ValidationError(f"{field.name}: {error}") from None
        return struct(**fitting)


@cache
def _fields(struct: type[msgspec.Struct]) -> tuple[FieldInfo, ...]:
    # What an event cannot do without comes first, before its context has used up the looks.
    return tuple(sorted(msgspec.structs.fields(struct), key=lambda field: not field.required))


@cache
def _struct_in(annotation: Any) -> tuple[type[msgspec.Struct] | None, bool]:
    """Return the struct in `S`, `S | None` or `tuple[S, ...]`, and whether it is a tuple."""
    is_array = get_origin(annotation) is tuple
    for member in (annotation, *get_args(annotation)):
        if isinstance(member, type) and issubclass(member, msgspec.Struct):
            return member, is_array
    return None, is_array
