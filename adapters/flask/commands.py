"""The commands `flask karla`: programs of `karla-receiver`, for the receiver of an app."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import click
from flask.cli import AppGroup

from karla_receiver import Receiver

__all__ = ["commands"]

_HELP: Final = {
    "work": "Handle what is in the inbox of the app's receiver.",
    "inbox": "Look into an inbox, have deliveries handled again, delete them.",
    "webhooks": "Register endpoints with Karla, and keep them equal to your handlers.",
}
# Every option, and --help, is the program's.
_SETTINGS: Final = {"ignore_unknown_options": True}


def commands(receiver: Receiver) -> click.Group:
    """Return the group `karla`. Its commands need the extra `cli`, and say so without it."""
    group = AppGroup("karla", help="Receive webhooks from Karla.")
    for name, told in _HELP.items():
        group.command(name, help=told, add_help_option=False, context_settings=_SETTINGS)(
            click.argument("arguments", nargs=-1, type=click.UNPROCESSED)(_runs(name, receiver))
        )
    return group


def _runs(name: str, receiver: Receiver) -> Callable[[tuple[str, ...]], None]:
    def run(arguments: tuple[str, ...]) -> None:
        from karla_receiver.cli import main  # it says what is missing without the extra

        main([name, *arguments], name="flask karla", receiver=receiver)

    return run
