"""The program: its commands, and what it says about itself."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from karla_receiver.cli.demo import demo
from karla_receiver.cli.webhooks import webhooks

__all__ = ["program"]

program: typer.Typer = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,  # they can show local variables, and so a secret
)


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"karla-receiver {version('karla-receiver')}")
        raise typer.Exit


@program.callback()
def describe(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Receive webhooks from Karla: see it work, on this machine.

    Example: karla-receiver demo
    """


program.command()(demo)
program.add_typer(webhooks)
