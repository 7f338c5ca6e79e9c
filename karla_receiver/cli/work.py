"""The command `work`: handle what is in a receiver's inbox, beside the web processes."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Annotated

import typer

from karla_receiver import ConfigurationError, Receiver
from karla_receiver.cli.failures import told_plainly
from karla_receiver.cli.importing import chosen_receiver
from karla_receiver.inbox import SQLiteInbox
from karla_receiver.observing.logs import logger

__all__ = ["work"]

_WAIT_SECONDS = 0.5


def work(
    context: typer.Context,
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="MODULE:RECEIVER",
            help="Where the receiver is, as in shop.hooks:receiver. `flask karla` knows the app's.",
        ),
    ] = None,
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

    Exit status: 0 if all finished, 1 if a handler had to be left or the inbox
    cannot be used, 2 for wrong usage.
    """
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
    )
    stopping = threading.Event()
    with told_plainly(debug=bool(context.find_root().params.get("debug"))):
        inbox = _inbox_of(target, context.find_root().obj)
        signal.signal(signal.SIGTERM, _stop_with(stopping))
        signal.signal(signal.SIGINT, _stop_with(stopping))
        inbox.start(threads)
    many = "1 thread" if threads == 1 else f"{threads} threads"
    typer.echo(
        f"handling the inbox of {target or 'the app'} with {many}; Ctrl-C stops it", err=True
    )
    _wait_for(stopping)
    typer.echo("stopping: what runs is finished", err=True)
    has_ended = threading.Event()
    results: list[bool] = []

    def stop() -> None:
        try:
            results.append(inbox.stop(grace))
        except Exception:  # noqa: BLE001 - logged
            logger.exception("the worker could not be stopped")
        finally:
            has_ended.set()

    threading.Thread(target=stop, daemon=True).start()
    _wait_for(has_ended)
    if results != [True]:
        raise typer.Exit(1)  # without closing the file, which a handler that was left may keep
    inbox.close()


def _wait_for(event: threading.Event) -> None:
    # In short waits: a signal that comes just before a wait does not interrupt it.
    while not event.wait(_WAIT_SECONDS):
        pass


def _stop_with(stopping: threading.Event) -> Callable[[int, FrameType | None], None]:
    """Return a handler of signals; at the second one the process ends at once."""

    def stop(number: int, frame: FrameType | None) -> None:
        if stopping.is_set():
            os._exit(128 + number)  # not sys.exit: what is done at exit waits for the handlers
        stopping.set()

    return stop


def _inbox_of(target: str | None, own: Receiver | None) -> SQLiteInbox:
    inbox = chosen_receiver(target, own).inbox
    if not isinstance(inbox, SQLiteInbox):
        raise ConfigurationError(
            f"{target or 'the app'!a} has no SQLiteInbox to work on: Receiver(...,"
            " inbox=SQLiteInbox(...))"
        )
    return inbox
