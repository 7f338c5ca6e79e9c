"""Types that msgspec decodes into, read by it before two threads can meet in one.

msgspec reads a struct's definition when it first decodes into it. A second thread that comes while
it does finds the definition half read, and the interpreter crashes (msgspec 0.22). So each such
struct is read where it is defined: a module is imported by one thread.
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

__all__ = ["DECODABLE", "decodable"]

_StructT = TypeVar("_StructT", bound=msgspec.Struct)

DECODABLE: Final[set[type[msgspec.Struct]]] = set()


def decodable(struct: type[_StructT]) -> type[_StructT]:
    """Have msgspec read a struct, and those in its fields, now. For use as a decorator."""
    msgspec.json.Decoder(struct)
    DECODABLE.add(struct)
    return struct
