"""Writing to standard output: lines of JSON for programs, bytes as they are, and closed pipes."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager

import msgspec
import typer

__all__ = ["mute_stdout", "told_if_slow", "write_bytes", "write_json"]

_SLOW_SECONDS = 2


def write_json(line: Mapping[str, object]) -> None:
    """Write one object as a line."""
    typer.echo(msgspec.json.encode(line))


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
