"""Reading a time from the command line."""

from __future__ import annotations

import math

import typer

__all__ = ["unix_seconds"]


def unix_seconds(text: str) -> float:
    """Return a time in unix seconds. Raises typer.BadParameter, which names the option."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise typer.BadParameter(f"{text!a} is no time in unix seconds, such as 1700000000")
    return seconds
