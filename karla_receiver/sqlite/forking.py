"""Closing all connections before a fork, and starting anew in the child.

SQLite allows a child process neither to use nor to close a connection of its parent. It also keeps
a table of a file's locks in the process's memory. A child that inherits this table believes that it
has locks which only its parent has, so that a connection of its own is no remedy.

So all connections are closed before a fork, and opened again when they are needed. A connection
that cannot be closed in time makes the child refuse to open any: it could wait for ever, or write
over what others wrote.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final, Protocol, TypeVar

from karla_receiver.errors import StorageError

__all__ = [
    "has_inherited",
    "note_closed",
    "note_open",
    "notice_fork",
    "pause_for_fork",
    "renew_after_fork",
]

_T = TypeVar("_T")

# How long a fork waits for whoever uses a connection: long enough for a commit that has to wait for
# another process's lock, which is given up after 1 s, and for the disk.
_PATIENCE_SECONDS: Final = 2.0


class Pausable(Protocol):
    """Something that has connections."""

    def pause(self, seconds: float) -> Callable[[], object]:
        """Close them, and open none until what is returned is called. Raises StorageError."""
        ...


class Renewable(Protocol):
    """Something that can begin anew."""

    def after_fork(self) -> None:
        """Forget what belongs to the parent process."""


_PAUSABLE: Final[weakref.WeakSet[Any]] = weakref.WeakSet()
_RENEWABLE: Final[weakref.WeakSet[Any]] = weakref.WeakSet()
_OPEN: Final[weakref.WeakSet[Any]] = weakref.WeakSet()
_INHERITED: Final[list[object]] = []  # kept, since a connection closes when it is forgotten


class _Thread(threading.local):
    """A thread that forks."""

    def __init__(self) -> None:
        # A list for each fork: a handler of signals may fork while its thread is about to.
        self.resumptions: list[list[Callable[[], object]]] = []


_THREAD: Final = _Thread()


class _Process:
    """The process that the sets above describe."""

    number = os.getpid()
    # A lock for each process, as one that another thread of the parent has stays locked here.
    locks: Final[dict[int, threading.Lock]] = {}


def pause_for_fork(thing: Pausable) -> None:
    """Have thing paused, from before each fork until after it."""
    _PAUSABLE.add(thing)


def renew_after_fork(thing: Renewable) -> None:
    """Have `after_fork` of thing called in each child process, before anything else runs there."""
    _RENEWABLE.add(thing)


def note_open(connection: object) -> None:
    """Say that connection is, or is about to be, open."""
    _OPEN.add(connection)


def note_closed(connection: object) -> None:
    """Say that connection is closed."""
    _OPEN.discard(connection)


def has_inherited() -> bool:
    """Return whether a connection was open when this process was forked off."""
    notice_fork()
    return bool(_INHERITED)


def notice_fork() -> None:
    """Begin anew if this process was forked off by a server that runs no hooks of Python's.

    uWSGI is one, unless it has `py-call-uwsgi-fork-hooks`. To be called before any lock is taken.
    """
    process = os.getpid()
    if process != _Process.number:
        with _Process.locks.setdefault(process, threading.Lock()):
            if process != _Process.number:
                _begin_anew()


def _before_fork() -> None:
    resumptions: list[Callable[[], object]] = []
    _THREAD.resumptions.append(resumptions)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    for thing in _all(_PAUSABLE):
        with suppress(StorageError):  # then the child has it open, and will say so
            resumptions.append(thing.pause(max(0.0, deadline - time.monotonic())))


def _after_fork_in_parent() -> None:
    for resume in _THREAD.resumptions.pop():
        resume()


def _after_fork_in_child() -> None:
    del _THREAD.resumptions[-1:]  # none with uWSGI's py-call-osafterfork, which runs this hook only
    _begin_anew()


def _begin_anew() -> None:
    _INHERITED.extend(_OPEN)
    _OPEN.clear()
    for thing in list(_RENEWABLE):
        thing.after_fork()
    _Process.number = os.getpid()  # last: until then other threads wait for it


def _all(things: Iterable[_T]) -> list[_T]:
    """Return all of a set to which other threads may be adding; by no lock, for that could be had
    by the very thread that forks.
    """
    while True:
        with suppress(RuntimeError):  # its size has changed
            return list(things)


if hasattr(os, "register_at_fork"):  # pragma: no branch - not on Windows
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
