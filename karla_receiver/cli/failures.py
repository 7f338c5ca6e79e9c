"""What a failure comes to on the command line: one line that says what to do, and a status."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import typer

from karla_receiver.errors import ConfigurationError, KarlaReceiverError

__all__ = ["told_plainly"]


@contextmanager
def told_plainly(*, debug: bool) -> Generator[None]:
    """Tell an error of ours in a line and exit: with 2 for wrong use, with 1 for what failed.

    debug: raise it instead, with its traceback.
    """
    try:
        yield
    except KarlaReceiverError as error:
        if debug:
            raise
        typer.echo(f"karla-receiver: {error}", err=True)
        raise typer.Exit(2 if isinstance(error, ConfigurationError) else 1) from None
