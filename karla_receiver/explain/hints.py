"""Facts about a delivery that prove nothing, but tell where to look."""

from __future__ import annotations

from collections.abc import Iterator

from karla_receiver.errors import RequestError
from karla_receiver.explain import json_trees
from karla_receiver.explain.causes import Change, Code
from karla_receiver.explain.headers import HeaderLines, HeaderPairs, lines_of, readings
from karla_receiver.request import content_length

__all__ = ["hints"]


def hints(body: bytes, lines: HeaderLines, headers: HeaderPairs) -> Iterator[Change]:
    """Yield what is remarkable about a delivery that no known cause explains."""
    plainest = next(readings(lines, headers), None)
    if plainest is not None:
        yield from plainest.changes
    yield from _of_length(body, headers)
    if not body:
        yield Change(Code.EMPTY_BODY, "0 bytes")
        return
    if lines_of(headers, "content-encoding"):
        yield Change(Code.ENCODING_DECLARED, "there is a Content-Encoding header")
    tree = json_trees.read(body)
    if tree is None:
        yield Change(Code.NOT_JSON, f"{len(body)} bytes that are no JSON text in UTF-8")
    elif json_trees.is_sorted(tree):
        yield Change(Code.SORTED_KEYS, "in every object the keys are in alphabetical order")


def _of_length(body: bytes, headers: HeaderPairs) -> Iterator[Change]:
    try:
        declared = content_length(lines_of(headers, "content-length"))
    except RequestError:
        return
    if declared is not None and declared != len(body):
        yield Change(Code.OTHER_LENGTH, f"Content-Length is {declared}, the body {len(body)} bytes")
