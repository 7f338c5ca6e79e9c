"""The commands `inbox ...`: look into an inbox, have deliveries handled again, delete them."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import httpx2
import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from karla_receiver import KarlaReceiverError, sign
from karla_receiver.inbox.operations import Kept, Operations, Selection
from karla_receiver.inbox.rows import State
from karla_receiver.signature import HEADER

__all__ = ["inbox"]

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_TIMEOUT_SECONDS: Final = 30

inbox: typer.Typer = typer.Typer(
    no_args_is_help=True,
    help="Look into an inbox, have deliveries handled again, delete them.",
)


def _moment(text: str) -> float:
    """Read a moment: how long ago (90s, 15m, 2h, 7d), or ISO 8601; without an offset it is UTC."""
    ago = re.fullmatch(r"(\d{1,9})([smhd])", text)
    if ago is not None:
        return time.time() - int(ago[1]) * _UNITS[ago[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!a} is neither like 15m, 2h or 7d nor like 2026-11-24T10:00"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


File = Annotated[
    Path, typer.Argument(help="The inbox's file, as karla.db.", show_default=False, metavar="FILE")
]
Keys = Annotated[
    list[str] | None, typer.Argument(help="Keys, or beginnings of them.", metavar="[KEY]...")
]
States = Annotated[list[State] | None, typer.Option("--state", help="In this state.")]
Group = Annotated[str | None, typer.Option(help="Of this event group.")]
Endpoint = Annotated[str | None, typer.Option(help="Of this endpoint.")]
Since = Annotated[
    float | None, typer.Option(parser=_moment, metavar="TIME", help="Received since: 2h, 7d, ISO.")
]
Until = Annotated[
    float | None, typer.Option(parser=_moment, metavar="TIME", help="Received until.")
]
AsJSON = Annotated[bool, typer.Option("--json", help="Write JSON, an object a line.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it; without this, only say what it would do.")]


@contextmanager
def _opened(file: Path) -> Generator[Operations]:
    """Open the inbox; what is wrong with it costs one line, and status 2."""
    try:
        with closing(Operations(file)) as operations:
            yield operations
    except KarlaReceiverError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None


@inbox.command("list")
def list_(
    file: File,
    states: States = None,
    group: Group = None,
    endpoint: Endpoint = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 50,
    as_json: AsJSON = False,
) -> None:
    """List deliveries, the newest first.

    Example: karla-receiver inbox list karla.db --state failed --since 7d
    """
    selection = _selection(states, group, endpoint, since, until)
    with _opened(file) as operations:
        found = operations.find(selection, limit=limit)
        count = operations.count(selection)
    if as_json:
        for kept in found:
            _write(kept)
        return
    table = Table("received", "state", "attempts", "key", "ref", "note", box=None)
    for kept in found:
        columns = (_shown(kept.received_at), kept.state, str(kept.attempts), kept.key[:12])
        table.add_row(*map(_plain, (*columns, kept.ref or "-", kept.note or "")))
    Console().print(table)
    typer.echo(f"{len(found)} of {count}")


@inbox.command()
def show(
    file: File,
    key: Annotated[str, typer.Argument(help="A key, or its beginning.", metavar="KEY")],
    as_json: AsJSON = False,
) -> None:
    """Show one delivery, with its headers and its body as received.

    The body holds personal data, and the header is what a replay would need.
    """
    with _opened(file) as operations:
        kept = _one(operations, key)
        delivery = operations.delivery(kept)
    if as_json:
        text = delivery.body.decode("utf-8", "backslashreplace")
        _write(msgspec.to_builtins(kept) | {"headers": delivery.headers, "body": text})
        return
    for name in Kept.__struct_fields__:
        value = getattr(kept, name)
        shown = _shown(value) if name in ("received_at", "changed_at") else value
        typer.echo(f"{name:12} {_plain(str(shown), markup=False)}")
    for name, line in delivery.headers:
        typer.echo(f"{name:12} {_plain(line, markup=False)}")
    typer.echo("")
    typer.echo(_plain(delivery.body.decode("utf-8", "backslashreplace"), markup=False))


@inbox.command()
def retry(
    file: File,
    keys: Keys = None,
    group: Group = None,
    endpoint: Endpoint = None,
    since: Since = None,
    until: Until = None,
    as_json: AsJSON = False,
) -> None:
    """Have failed deliveries handled again, with all their attempts.

    Example: karla-receiver inbox retry karla.db --since 2h
    """
    selection = _selection([State.FAILED], group, endpoint, since, until, keys)
    with _opened(file) as operations:
        count = _progress("retry", operations.have_again(selection), operations.count(selection))
    _report({"retried": count}, f"{count} failed deliveries wait to be handled again.", as_json)


@inbox.command()
def replay(
    file: File,
    keys: Keys = None,
    states: States = None,
    group: Group = None,
    endpoint: Endpoint = None,
    since: Since = None,
    until: Until = None,
    to: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Send them there, signed anew with KARLA_WEBHOOK_SECRET."),
    ] = None,
    yes: Yes = False,
    as_json: AsJSON = False,
) -> None:
    """Have deliveries of any state handled again, or send them to a URL.

    To handlers: what was done is done a second time. To a URL: bodies go out
    byte for byte as Karla sent them, oldest first, and nothing changes here.

    Examples:

      karla-receiver inbox replay karla.db 3fb1a0 --yes
      karla-receiver inbox replay karla.db --since 1d --to http://127.0.0.1:8000/karla --yes

    Exit status: 1 if the URL answered any of them with anything but 2xx.
    """
    selection = _selection(states, group, endpoint, since, until, keys)
    with _opened(file) as operations:
        count = operations.count(selection)
        target = f"sent to {to}" if to else "handled again, those that are done a second time"
        if not yes:
            _report(
                {"would_replay": count}, f"{count} deliveries would be {target}: --yes", as_json
            )
            return
        if to is None:
            replayed = _progress("replay", operations.have_again(selection), count)
            _report({"replayed": replayed}, f"{replayed} deliveries wait to be handled.", as_json)
            return
        refused = 0
        for accepted in _track("replay", _sent(operations, selection, to), count):
            refused += not accepted
    _report(
        {"replayed": count - refused, "refused": refused},
        f"{count - refused} deliveries were accepted, {refused} were not.",
        as_json,
    )
    raise typer.Exit(1 if refused else 0)


@inbox.command()
def purge(
    file: File,
    keys: Keys = None,
    states: States = None,
    group: Group = None,
    endpoint: Endpoint = None,
    since: Since = None,
    until: Until = None,
    yes: Yes = False,
    as_json: AsJSON = False,
) -> None:
    """Delete deliveries; those that are done, unless a state is named.

    What is deleted is forgotten: a copy that comes later is handled as new.

    Example: karla-receiver inbox purge karla.db --state failed --until 30d --yes
    """
    selection = _selection(states or [State.DONE], group, endpoint, since, until, keys)
    told = " or ".join(selection.states)
    with _opened(file) as operations:
        count = operations.count(selection)
        if not yes:
            _report(
                {"would_delete": count},
                f"{count} deliveries that are {told} would be deleted: --yes",
                as_json,
            )
            return
        deleted = _progress("purge", operations.delete(selection), count)
    _report({"deleted": deleted}, f"{deleted} deliveries that were {told} are deleted.", as_json)


@inbox.command()
def stats(file: File, as_json: AsJSON = False) -> None:
    """Show how many deliveries are in which state, and whether anybody handles them."""
    with _opened(file) as operations:
        found = operations.stats()
    if as_json:
        _write(found)
        return
    table = Table("", "deliveries", box=None)
    for name, number in (*found.states.items(), *found.groups.items()):
        table.add_row(_plain(name or "(no group)"), str(number))
    table.add_row("same occurrence, other bytes", str(found.near_duplicates))
    Console().print(table)
    waiting = "-" if found.oldest_waiting is None else _shown(found.oldest_waiting)
    typer.echo(f"oldest waiting: {waiting}")
    typer.echo(f"workers alive: {found.workers}")
    typer.echo(f"file: {found.bytes:,} bytes")


def _selection(
    states: list[State] | None,
    group: str | None,
    endpoint: str | None,
    since: float | None,
    until: float | None,
    keys: list[str] | None = None,
) -> Selection:
    return Selection(
        states=tuple(states or ()),
        group=group,
        endpoint=endpoint,
        keys=tuple(keys or ()),
        since=since,
        until=until,
    )


def _one(operations: Operations, key: str) -> Kept:
    found = operations.find(Selection(keys=(key,)), limit=2)
    if len(found) != 1:
        problem = "several deliveries begin" if found else "no delivery begins"
        typer.echo(f"{problem} with {key!a}", err=True)
        raise typer.Exit(2)
    return found[0]


def _sent(operations: Operations, selection: Selection, url: str) -> Iterator[bool]:
    secret = os.environ.get("KARLA_WEBHOOK_SECRET", "")
    if not secret:
        typer.echo("set KARLA_WEBHOOK_SECRET to the secret to sign with", err=True)
        raise typer.Exit(2)
    with httpx2.Client(timeout=_TIMEOUT_SECONDS) as client:
        for kept in reversed(operations.find(selection)):
            body = operations.delivery(kept).body
            headers = {HEADER: sign(body, secret), "Content-Type": "application/json"}
            try:
                answer = client.post(url, content=body, headers=headers)
                problem = None if answer.is_success else f"answered {answer.status_code}"
            except httpx2.HTTPError as error:
                problem = f"failed: {type(error).__name__}"
            if problem is not None:
                typer.echo(f"{_plain(kept.key[:12], markup=False)} {problem}", err=True)
            yield problem is None


def _track(what: str, steps: Iterator[Any], total: int) -> Iterator[Any]:
    """Show progress to people, on the standard error, for each step."""
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(what, total=total)
        for step in steps:
            progress.update(task, advance=int(step) or 1)
            yield step


def _progress(what: str, batches: Iterator[int], total: int) -> int:
    return sum(_track(what, batches, total))


def _report(facts: dict[str, int], text: str, as_json: bool) -> None:
    if as_json:
        _write(facts)
    else:
        typer.echo(text)


def _write(line: object) -> None:
    typer.echo(msgspec.json.encode(line).decode())


def _shown(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _plain(text: str, *, markup: bool = True) -> str:
    """Make what a sender controls fit for a terminal."""
    printable = "".join(
        each if each.isprintable() or each == "\n" else ascii(each)[1:-1] for each in text
    )
    return escape(printable) if markup else printable
