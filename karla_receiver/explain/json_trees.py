"""JSON values as they were received: the keys in their order, the numbers in their spelling."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Any, Final, TypeAlias, TypeGuard

from karla_receiver import samples

__all__ = [
    "JSONTree",
    "Number",
    "Object",
    "fraction_keys",
    "is_list",
    "is_sorted",
    "read",
    "sample_trees",
    "with_learned_keys",
    "with_sorted_keys",
]

JSONTree: TypeAlias = Any
# Of an object: the names of the field around it, and of its own.
_Place: TypeAlias = tuple[str, str]

# Larger objects are not learned from: they map ids to values, and it takes too long.
_MAX_KEYS: Final = 64
_MAX_TEACHERS: Final = 64


class Number(str):
    """A number's text as it was received."""

    __slots__ = ()


class Object(list[tuple[str, Any]]):
    """An object's pairs in the order they came."""


def read(body: bytes) -> JSONTree | None:
    """Return the JSON value that body holds; None if it holds none, or one nested too deeply."""
    try:
        return json.loads(
            body.decode(),
            parse_int=Number,
            parse_float=Number,
            parse_constant=Number,
            object_pairs_hook=Object,
        )
    except (ValueError, RecursionError):
        return None


@cache
def sample_trees() -> tuple[JSONTree, ...]:
    """Return the values of all samples."""
    return tuple(read(samples.read(name)) for name in samples.names())


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Return whether value is an array, or an object's pairs."""
    return isinstance(value, list)


def is_sorted(tree: JSONTree) -> bool:
    """Return whether there are keys to sort in tree and all of them are in order."""
    every = [[key for key, _ in each] for _, each in _objects(tree)]
    return any(len(keys) > 1 for keys in every) and all(keys == sorted(keys) for keys in every)


def with_sorted_keys(tree: JSONTree) -> JSONTree:
    """Return tree with the keys of each object in alphabetical order."""
    return _reordered(tree, ("", ""), lambda _, key: key)


def with_learned_keys(tree: JSONTree, *teachers: Sequence[JSONTree]) -> JSONTree:
    """Return tree with the keys of each object in the order in which teachers have them.

    Where two teachers contradict each other, that of the first group is right; within a group, the
    one that has more of tree's keys. A key that none of them has comes last.
    """
    wanted = _keys_of(tree)
    known: dict[_Place, list[str]] = {}
    for teacher in chain.from_iterable(
        sorted(group, key=lambda each: -len(wanted & _keys_of(each)))[:_MAX_TEACHERS]
        for group in teachers
    ):
        for (around, name), each in _objects(teacher):
            keys = [key for key, _ in each[: _MAX_KEYS + 1]]
            if len(keys) <= _MAX_KEYS:
                _merge(known.setdefault((around, name), []), keys)
                _merge(known.setdefault(("", name), []), keys)
    ranks: dict[_Place, dict[str, int]] = {}
    for place, order in known.items():
        _merge(order, known["", place[1]])
        ranks[place] = {key: rank for rank, key in enumerate(order)}

    def rank(place: _Place, key: str) -> int:
        of_place = ranks.get(place) or ranks.get(("", place[1])) or {}
        return of_place.get(key, len(of_place))

    return _reordered(tree, ("", ""), rank)


def fraction_keys(trees: Iterable[JSONTree]) -> set[str]:
    """Return the keys of all numbers in trees that are written with a fraction."""
    return {
        key
        for tree in trees
        for _, each in _objects(tree)
        for key, child in each
        if isinstance(child, Number) and "." in child
    }


def _keys_of(tree: JSONTree) -> set[tuple[_Place, str]]:
    return {(place, key) for place, each in _objects(tree) for key, _ in each}


def _objects(tree: JSONTree) -> Iterator[tuple[_Place, Object]]:
    pending = [(("", ""), tree)]
    while pending:
        place, value = pending.pop()
        if isinstance(value, Object):
            yield place, value
            pending.extend(((place[1], key), child) for key, child in value)
        elif is_list(value):
            pending.extend((place, child) for child in value)


def _merge(known: list[str], keys: list[str]) -> None:
    """Insert each of keys that is not known behind the one that it follows."""
    place = 0
    for key in keys:
        if key in known:
            place = max(place, known.index(key) + 1)
        else:
            known.insert(place, key)
            place += 1


def _reordered(
    value: JSONTree, place: _Place, rank: Callable[[_Place, str], str | int]
) -> JSONTree:
    if isinstance(value, Object):
        pairs = ((key, _reordered(child, (place[1], key), rank)) for key, child in value)
        return Object(sorted(pairs, key=lambda pair: rank(place, pair[0])))
    if is_list(value):
        return [_reordered(child, place, rank) for child in value]
    return value
