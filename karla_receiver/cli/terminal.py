"""Writing to the terminal: rows for people, lines of JSON for programs, and closed pipes."""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Annotated, Final, TypeAlias

import msgspec
import typer
from rich.console import Console

from karla_receiver import Event
from karla_receiver.checks import printable

__all__ = [
    "MARKS",
    "AsJSON",
    "Terminal",
    "event_as_json",
    "event_in_a_row",
    "mute_stdout",
    "told_if_slow",
    "write_bytes",
    "write_json",
]

_SLOW_SECONDS = 2
_UNLIMITED_WIDTH = 100_000
_LONGEST_PART = 100

AsJSON: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Write JSON, an object a line, for programs.")
]

# How a row begins, and in which style, by whether what it tells is right.
MARKS: Final = {True: ("ok", "green"), False: ("!!", "bold red")}


class Terminal(Console):
    """Standard output; colours only where there are some, and never against NO_COLOR."""

    def __init__(self, *, soft_wrap: bool = True) -> None:
        super().__init__(highlight=False, markup=False, soft_wrap=soft_wrap)
        if not self.is_terminal:
            self.width = _UNLIMITED_WIDTH  # no line is cut or folded for a reader that is a program

    def on_broken_pipe(self) -> None:
        """Let the program see to it, for every command in the same way."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def write_json(line: Mapping[str, object]) -> None:
    """Write one object as a line."""
    typer.echo(msgspec.json.encode(line))


def event_as_json(event: Event) -> dict[str, str | None]:
    """Return what a program may want to know of an event."""
    return {
        "event_type": type(event).__name__,
        "ref": event.ref,
        "event_group": event.event_group,
        "order_number": event.order_number,
    }


def event_in_a_row(event: Event) -> str:
    """Return the same for people. The order number first: a narrow terminal cuts off the end."""
    # Signed, but still somebody's text: no escape sequence of it may reach the terminal.
    parts = (event.order_number, event.ref, type(event).__name__)
    return " ".join(printable((part or "-")[:_LONGEST_PART]) for part in parts)


def write_bytes(content: bytes) -> None:
    """Write bytes as they are."""
    typer.echo(content, nl=False)


@contextmanager
def told_if_slow(text: str) -> Generator[None]:
    """Say once, on standard error, what is waited for, if it takes more than two seconds."""
    timer = threading.Timer(_SLOW_SECONDS, typer.echo, (text,), {"err": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def mute_stdout() -> None:
    """Have nothing more written to a pipe that was closed, not even when Python ends."""
    try:
        descriptor = sys.stdout.fileno()
    except OSError:
        return  # it is no file
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
