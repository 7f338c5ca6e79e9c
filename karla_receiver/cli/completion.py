"""What a shell offers for a word that is being typed: samples, patterns, groups, keys of an inbox.

A shell runs this at each press of Tab: so it is quick, writes nothing, and fails in silence.
"""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path
from typing import Final

import typer

from karla_receiver import EventGroup, Phase, Source, parse_event, samples

__all__ = ["group_names", "inbox_keys", "patterns", "sample_names"]

_MOST_KEYS: Final = 100
_SHORT: Final = 12  # of a key, as `inbox list` shows it
# A key may be of a user's own making. What a shell could take for anything but a word is left out.
_HARMLESS: Final = re.compile(r"[A-Za-z0-9._-]+")


def sample_names() -> list[str]:
    """Return the names of all samples."""
    return samples.names()


def group_names() -> list[str]:
    """Return the event groups that Karla is known to use."""
    return list(map(str, EventGroup))


def patterns() -> list[str]:
    """Return patterns: sources, phases, and refs that the samples have."""
    found = {str(Source.SHIPMENTS), *(f"{Source.SHIPMENTS}/{phase}" for phase in Phase)}
    for name in samples.names():
        source, *rest = str(parse_event(samples.read(name)).ref).split("/")
        if source in set(Source):
            found |= {source, "/".join([source, *rest])}
    return sorted(found)


def inbox_keys(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return keys of the inbox that the command line names, the newest first; none if it is none.

    Reads the file without a lock, and makes no file beside it: what a running receiver has
    written in the last moments may be missing.
    """
    import sqlite3  # here, because other commands need no database

    sql = "SELECT key FROM karla_inbox WHERE substr(key, 1, ?) = ? ORDER BY id DESC LIMIT ?"
    try:
        place = f"{Path(ctx.params['file']).absolute().as_uri()}?mode=ro&immutable=1"
        with closing(sqlite3.connect(place, uri=True)) as connection:
            rows = connection.execute(sql, (len(incomplete), incomplete, _MOST_KEYS)).fetchall()
    except sqlite3.Error:
        return []
    keys = [str(key) for (key,) in rows if _HARMLESS.fullmatch(str(key))]
    return keys if len(incomplete) > _SHORT else [key[:_SHORT] for key in keys]
