"""Reading a time from the command line: in unix seconds, in ISO 8601, or as how long ago."""

from __future__ import annotations

import math
import re
import time
from datetime import UTC, datetime
from typing import Final

import typer

__all__ = ["unix_seconds", "whole_unix_seconds"]

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def unix_seconds(text: str) -> float:
    """Return a time in unix seconds.

    text: unix seconds; ISO 8601, in UTC unless it has an offset; or how long ago: 90s, 15m, 2h, 7d.
    Raises typer.BadParameter, which names the option.
    """
    ago = re.fullmatch(r"(\d{1,9})([smhd])", text)
    if ago is not None:
        return time.time() - int(ago[1]) * _UNITS[ago[2]]
    try:
        seconds = float(text)
    except ValueError:
        seconds = _of_iso(text)
    if not math.isfinite(seconds):
        raise typer.BadParameter(
            f"{text!a} is no time: give unix seconds (1700000000), ISO 8601 (2026-11-24T10:00), or"
            " how long ago (15m, 2h, 7d)"
        )
    return seconds


def whole_unix_seconds(text: str) -> int:
    """Same as `unix_seconds`, but in whole seconds."""
    return int(unix_seconds(text))


def _of_iso(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return math.nan
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
