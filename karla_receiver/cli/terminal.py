"""The terminal: rows for people. What needs no terminal is in `output`, and found here too."""

from __future__ import annotations

import errno
import os
from typing import Annotated, Final, TypeAlias

import typer
from rich.console import Console

from karla_receiver import Event
from karla_receiver.checks import printable
from karla_receiver.cli.output import mute_stdout, told_if_slow, write_bytes, write_json

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

_UNLIMITED_WIDTH = 100_000
_LONGEST_PART = 100

AsJSON: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Write JSON, an object a line, for programs.")
]

# How a row begins, and in which style, by whether what it tells is right.
MARKS: Final = {True: ("ok", "green"), False: ("!!", "bold red")}


class Terminal(Console):
    """Standard output; colours only where there are some, and never against NO_COLOR.

    Text is shown as it is: `:smile:` in what a stranger wrote is seven characters, and no picture.
    """

    def __init__(self, *, soft_wrap: bool = True) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, soft_wrap=soft_wrap)
        if not self.is_terminal:
            self.width = _UNLIMITED_WIDTH  # no line is cut or folded for a reader that is a program

    def on_broken_pipe(self) -> None:
        """Let the program see to it, for every command in the same way."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


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
