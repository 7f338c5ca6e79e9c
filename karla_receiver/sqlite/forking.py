"""What must begin anew in a process that was forked off: locks, threads and connections."""

from __future__ import annotations

import os
import weakref
from typing import Any, Final, Protocol

__all__ = ["abandon", "renew_after_fork"]


class Renewable(Protocol):
    """Something that can begin anew."""

    def after_fork(self) -> None:
        """Forget what belongs to the parent process."""


_RENEWABLE: Final[weakref.WeakSet[Any]] = weakref.WeakSet()
_ABANDONED: Final[list[object]] = []


def renew_after_fork(thing: Renewable) -> None:
    """Have `after_fork` of thing called in each child process, before anything else runs there."""
    _RENEWABLE.add(thing)


def abandon(thing: object) -> None:
    """Keep thing unused: SQLite forbids to use, and to close, a connection of the parent's."""
    _ABANDONED.append(thing)


def _after_fork() -> None:
    for thing in list(_RENEWABLE):
        thing.after_fork()


if hasattr(os, "register_at_fork"):  # pragma: no branch - not on Windows
    os.register_at_fork(after_in_child=_after_fork)
