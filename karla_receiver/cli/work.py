"""The command `work`: handle what is in a receiver's inbox, beside the web processes."""

from __future__ import annotations

import importlib
import logging
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from karla_receiver import KarlaReceiverError, Receiver
from karla_receiver.inbox import SQLiteInbox

__all__ = ["work"]


def work(
    target: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:RECEIVER", help="Where the receiver is, as in shop.hooks:receiver."
        ),
    ],
    threads: Annotated[int, typer.Option(min=1, max=256, help="How many handlers at once.")] = 4,
    grace: Annotated[
        float, typer.Option(min=0, help="Seconds that handlers have to finish, when stopped.")
    ] = 30,
) -> None:
    """Handle what is in a receiver's inbox, until SIGTERM or SIGINT.

    Then what runs is finished, and the rest goes back to the inbox. A second
    signal ends it at once; other workers take over when its lease has ended.
    Any number may run side by side on one machine.

    Example: karla-receiver work shop.hooks:receiver --threads 8

    Exit status: 0 if all finished, 1 if a handler had to be left, 2 for wrong
    usage.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    stopping = threading.Event()
    inbox = _inbox_of(target)
    signal.signal(signal.SIGTERM, _stop_with(stopping))
    signal.signal(signal.SIGINT, _stop_with(stopping))
    try:
        inbox.start(threads)
    except KarlaReceiverError as error:
        _refuse(str(error))
    typer.echo(f"{inbox!r}: handling with {threads} threads", err=True)
    stopping.wait()
    typer.echo("stopping: what runs is finished", err=True)
    has_finished = inbox.stop(grace)
    inbox.close()
    raise typer.Exit(0 if has_finished else 1)


def _refuse(problem: str) -> NoReturn:
    typer.echo(problem, err=True)
    raise typer.Exit(2)


def _stop_with(stopping: threading.Event) -> Callable[[int, FrameType | None], None]:
    """Return a handler of signals; at the second one the process ends at once."""

    def stop(number: int, frame: FrameType | None) -> None:
        if stopping.is_set():
            sys.exit(128 + number)
        stopping.set()

    return stop


def _inbox_of(target: str) -> SQLiteInbox:
    module_name, _, name = target.partition(":")
    if not module_name or not name:
        _refuse(f"{target!a} is not like module:receiver")
    sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # it is there, and lacks something itself
        _refuse(f"there is no module {module_name!a} in {Path.cwd()} or on the path")
    receiver = getattr(module, name, None)
    if not isinstance(receiver, Receiver):
        _refuse(f"{target!a} is not a Receiver, but {type(receiver).__name__}")
    inbox = receiver.inbox
    if not isinstance(inbox, SQLiteInbox):
        _refuse(f"{target!a} has no SQLiteInbox to work on: Receiver(..., inbox=SQLiteInbox(...))")
    return inbox
