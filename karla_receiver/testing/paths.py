"""The fields of an event, by path: what is documented there, and putting something there.

A path names the fields from the envelope down, with dots between, as in
"context.order.products.0.title"; a number is a place in a list.
"""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any, get_args, get_origin

import msgspec

from karla_receiver.errors import ConfigurationError
from karla_receiver.events import Event, JSONObject
from karla_receiver.testing.json_values import is_list, is_object

__all__ = ["check_value", "names_of", "plain", "set_value"]


def check_value(path: str, value: object, kind: type[Event]) -> None:
    """Raise ConfigurationError unless a path is documented for a kind of event, and fits value."""
    try:
        msgspec.convert(plain(value), _type_at(path, kind))
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{path}: {error}") from None


@cache
def names_of(struct: type[msgspec.Struct]) -> frozenset[str]:
    """Return the names of the fields that are documented for a part of an event."""
    return frozenset(field.name for field in msgspec.structs.fields(struct))


def set_value(raw: JSONObject, path: str, value: object) -> None:
    place: Any = raw
    *parts, last = path.split(".")
    for part in parts:
        if is_list(place):
            place = place[_index(place, part, path)]
            continue
        if not (is_object(place.get(part)) or is_list(place.get(part))):
            place[part] = {}
        place = place[part]
    if is_list(place):
        last_index = _index(place, last, path)
        place[last_index] = plain(value)
    else:
        place[last] = plain(value)


def _index(place: list[Any], part: str, path: str) -> int:
    if not (part.isascii() and part.isdigit() and int(part) < len(place)):
        raise ConfigurationError(f"{path!a}: {part!a} is no place in a list of {len(place)}")
    return int(part)


def plain(value: object) -> object:
    """Return a value as JSON has it: a datetime becomes text."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ConfigurationError("a datetime must be aware, as in datetime.now(UTC)")
        return value.isoformat()
    try:
        return msgspec.to_builtins(value)
    except (TypeError, RecursionError) as error:
        raise ConfigurationError(f"{type(value).__name__} has no form in JSON: {error}") from None


@cache
def _type_at(path: str, kind: type[Event]) -> Any:
    """Return the documented type of what is at a path. Raises ConfigurationError if none is."""
    annotation: Any = kind
    for place, part in enumerate(path.split(".")):
        item = _item_in(annotation)
        struct = _struct_in(annotation)
        if item is None and struct is not None:
            types = {field.name: field.type for field in msgspec.structs.fields(struct)}
            if place == 0:
                del types["raw"]
            if part not in types:
                raise ConfigurationError(
                    f"{path!a}: {part!a} is not documented: there are {', '.join(sorted(types))}."
                    " Ask for it with undocumented"
                )
            annotation = types[part]
        else:
            annotation = Any if item is None else item
    return annotation


def _struct_in(annotation: Any) -> type[msgspec.Struct] | None:
    members = (annotation, *get_args(annotation))
    structs = (member for member in members if isinstance(member, type))
    return next((member for member in structs if issubclass(member, msgspec.Struct)), None)


def _item_in(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is tuple else None
