"""The commands `inbox ...`: look into an inbox, have deliveries handled again, delete them."""

from __future__ import annotations

import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from karla_receiver import ConfigurationError, sign
from karla_receiver.checks import printable
from karla_receiver.cli.addresses import checked_url
from karla_receiver.cli.completion import group_names, inbox_keys
from karla_receiver.cli.deliveries import NamedDelivery, genuine
from karla_receiver.cli.exchange import Exchange
from karla_receiver.cli.secret_input import SecretFile, ask_or_refuse
from karla_receiver.cli.sending import AllowRemote, Concurrency, deliver_all
from karla_receiver.cli.terminal import Terminal
from karla_receiver.cli.times import unix_seconds
from karla_receiver.inbox.operations import Kept, Operations, Selection
from karla_receiver.inbox.rows import State
from karla_receiver.vocabulary import EventGroup

__all__ = ["inbox"]

_NOT_YET: Final = "Nothing was done: add --yes to do it."

inbox: typer.Typer = typer.Typer(
    no_args_is_help=True,
    help="Look into an inbox, have deliveries handled again, delete them.",
)


File = Annotated[
    Path, typer.Argument(help="The inbox's file, as karla.db.", show_default=False, metavar="FILE")
]
Keys = Annotated[
    list[str] | None,
    typer.Argument(
        help="Keys, or beginnings of them.", metavar="[KEY]...", autocompletion=inbox_keys
    ),
]
States = Annotated[list[State] | None, typer.Option("--state", help="In this state.")]
Group = Annotated[str | None, typer.Option(help="Of this event group.", autocompletion=group_names)]
Endpoint = Annotated[str | None, typer.Option(help="Of this endpoint.")]
Since = Annotated[
    float | None,
    typer.Option(parser=unix_seconds, metavar="TIME", help="Received since: 2h, 7d, ISO."),
]
Until = Annotated[
    float | None, typer.Option(parser=unix_seconds, metavar="TIME", help="Received until.")
]
AsJSON = Annotated[bool, typer.Option("--json", help="Write JSON, an object a line.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it; without this, only say what it would do.")]


@inbox.command("list")
def list_(
    file: File,
    states: States = None,
    group: Group = None,
    endpoint: Endpoint = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many, the newest.")] = 50,
    as_json: AsJSON = False,
) -> None:
    """List deliveries, the newest first.

    Example: karla-receiver inbox list karla.db --state failed --since 7d

    Exit status: 0; 2 for wrong usage, such as a file that is no inbox.
    """
    selection = _selection(states, group, endpoint, since, until)
    with closing(Operations(file)) as operations:
        _check(operations, selection)
        found, count = operations.page(selection, limit)
    if as_json:
        for kept in found:
            _write(kept)
        return
    table = Table("received", "state", "attempts", "key", "ref", "note", box=None)
    for kept in found:
        columns = (_shown(kept.received_at), kept.state, str(kept.attempts), kept.key[:12])
        table.add_row(*map(printable, (*columns, kept.ref or "-", kept.note or "")))
    _print(table)
    typer.echo(f"{len(found)} of {_deliveries(count)}")


@inbox.command()
def show(
    file: File,
    key: Annotated[
        str,
        typer.Argument(help="A key, or its beginning.", metavar="KEY", autocompletion=inbox_keys),
    ],
    as_json: AsJSON = False,
) -> None:
    """Show one delivery, with its headers and its body as received.

    The body holds personal data, and the header is what a replay would need.

    Example: karla-receiver inbox show karla.db 3fb1a0

    Exit status: 0; 2 for wrong usage, such as a key that is not there.
    """
    with closing(Operations(file)) as operations:
        kept = _one(operations, key)
        delivery = operations.delivery(kept)
    if delivery is None:
        raise _none_begins_with(key)
    text = delivery.body.decode("utf-8", "backslashreplace")
    if as_json:
        # The text is for reading: what is no UTF-8 cannot be told from what only looks escaped.
        content = {"body": text, "body_base64": b64encode(delivery.body).decode()}
        _write(msgspec.to_builtins(kept) | {"headers": delivery.headers} | content)
        return
    times = {"received_at": _shown(kept.received_at), "changed_at": _shown(kept.changed_at)}
    for name in Kept.__struct_fields__:
        shown = (times | {"due": _due(kept)}).get(name, getattr(kept, name))
        typer.echo(f"{name:12} {printable('-' if shown is None else str(shown))}")
    for name, line in delivery.headers:
        typer.echo(f"{name:12} {printable(line)}")
    typer.echo("")
    typer.echo(printable(text, keeps_lines=True))


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

    Exit status: 0; 2 for wrong usage, such as a file that is no inbox.
    """
    selection = _selection([State.FAILED], group, endpoint, since, until, keys)
    with closing(Operations(file)) as operations:
        _check(operations, selection)
        count = _progress("retry", operations.have_again(selection), operations.count(selection))
    _report({"retried": count}, f"{_deliveries(count)} will be handled again.", as_json)


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
    concurrency: Concurrency = 1,
    secret_file: SecretFile = None,
    allow_remote: AllowRemote = False,
    yes: Yes = False,
    as_json: AsJSON = False,
) -> None:
    """Have deliveries of any state handled again, or send them to a URL.

    To handlers: what was done is done a second time; what runs is left alone.
    To a URL: bodies go out byte for byte as Karla sent them, oldest first,
    and nothing changes here.

    Examples:

      karla-receiver inbox replay karla.db 3fb1a0 --yes
      karla-receiver inbox replay karla.db --since 1d --to http://127.0.0.1:8000/karla --yes

    Exit status: 0; 1 if the URL answered one with anything but 200, 2 for
    wrong usage.
    """
    selection = _selection(states, group, endpoint, since, until, keys)
    if to is not None:
        checked_url(to, allow_remote=allow_remote)
    with closing(Operations(file)) as operations:
        _check(operations, selection)
        if not yes:
            count = operations.count(selection, at_rest=to is None)
            target = f"sent to {to}" if to else "handled again, those already done included"
            text = f"{_deliveries(count)} would be {target}. {_NOT_YET}"
            _report({"would_replay": count}, text, as_json)
        elif to is None:
            count = operations.count(selection, at_rest=True)
            replayed = _progress("replay", operations.have_again(selection), count)
            _report({"replayed": replayed}, f"{_deliveries(replayed)} will be handled.", as_json)
        else:
            secret = ask_or_refuse(secret_file)[0]
            sign(b"", secret)  # one that cannot sign is told before anything is sent
            found = operations.find(selection)[::-1]
            makers = [partial(_signed_anew, operations, kept, secret) for kept in found]
            exchanges = deliver_all(makers, to, concurrency=concurrency, as_json=as_json)
            is_right = _report_sent(exchanges, len(found) - len(exchanges), as_json)
            raise typer.Exit(0 if is_right else 1)


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
    What runs is left alone.

    Example: karla-receiver inbox purge karla.db --state failed --until 30d --yes

    Exit status: 0; 2 for wrong usage, such as a file that is no inbox.
    """
    selection = _selection(states or [State.DONE], group, endpoint, since, until, keys)
    told = f"in state {' or '.join(selection.states)}"
    with closing(Operations(file)) as operations:
        _check(operations, selection)
        count = operations.count(selection, at_rest=True)
        if not yes:
            text = f"{_deliveries(count)} {told} would be deleted. {_NOT_YET}"
            _report({"would_delete": count}, text, as_json)
            return
        deleted = _progress("purge", operations.delete(selection), count)
    _report({"deleted": deleted}, f"Deleted {_deliveries(deleted)} {told}.", as_json)


@inbox.command()
def stats(file: File, as_json: AsJSON = False) -> None:
    """Show how many deliveries are in which state, and whether anybody handles them.

    Example: karla-receiver inbox stats karla.db

    Exit status: 0; 2 for wrong usage, such as a file that is no inbox.
    """
    with closing(Operations(file)) as operations:
        found = operations.stats()
    if as_json:
        _write(found)
        return
    table = Table("", "deliveries", box=None)
    for name, number in (*found.states.items(), *found.groups.items()):
        table.add_row(printable(name or "(no group)"), str(number))
    table.add_row("same occurrence, other bytes", str(found.near_duplicates))
    _print(table)
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


def _check(operations: Operations, selection: Selection) -> None:
    """Tell what was probably mistyped. Raises ConfigurationError for a key that is not there."""
    for key in selection.keys:
        if not operations.count(Selection(keys=(key,))):
            raise _none_begins_with(key)
    group = selection.group
    if group is None or group in set(EventGroup):
        return
    here = [name for name in operations.stats().groups if name]
    if group not in here:  # Karla may add a group any day: it need not be a mistake
        close = get_close_matches(group, [*here, *EventGroup], n=1)
        meant = f": did you mean {close[0]!a}?" if close else ""
        typer.echo(f"no delivery here is of the event group {group!a}{meant}", err=True)


def _one(operations: Operations, key: str) -> Kept:
    found = operations.find(Selection(keys=(key,)), limit=2)
    if not found:
        raise _none_begins_with(key)
    if len(found) > 1:
        raise ConfigurationError(f"several keys begin with {key!a}: write more of it")
    return found[0]


def _none_begins_with(key: str) -> ConfigurationError:
    return ConfigurationError(
        f"no delivery has a key that begins with {key!a}:"
        " `karla-receiver inbox list` shows the keys"
    )


def _signed_anew(operations: Operations, kept: Kept, secret: str) -> NamedDelivery | None:
    delivery = operations.delivery(kept)
    return None if delivery is None else genuine(printable(kept.key[:12]), delivery.body, secret)


def _report_sent(exchanges: list[Exchange], gone: int, as_json: bool) -> bool:
    """Say what came of those that were sent, and return whether all were accepted."""
    refused = [exchange for exchange in exchanges if not exchange.is_right]
    for exchange in refused:
        typer.echo(f"{exchange.delivery.name}: {exchange.told}", err=True)
    accepted = len(exchanges) - len(refused)
    text = f"{_deliveries(accepted)} accepted, {len(refused)} not."
    if gone:
        text += f" {_deliveries(gone)} deleted meanwhile."
    _report({"replayed": accepted, "refused": len(refused), "gone": gone}, text, as_json)
    return not refused


def _progress(what: str, batches: Iterator[int], total: int) -> int:
    """Return the sum of the batches; show people on the standard error how far it is."""
    done = 0
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(what, total=total)
        for batch in batches:
            done += batch
            progress.update(task, advance=batch)
    return done


def _report(facts: dict[str, int], text: str, as_json: bool) -> None:
    if as_json:
        _write(facts)
    else:
        typer.echo(text)


def _write(line: object) -> None:
    typer.echo(msgspec.json.encode(line).decode())


def _print(table: Table) -> None:
    Terminal(soft_wrap=False).print(table)


def _deliveries(count: int) -> str:
    return "1 delivery" if count == 1 else f"{count} deliveries"


def _due(kept: Kept) -> str:
    """Say when what waits is handled."""
    if kept.state != State.WAITING:
        return "-"
    wait = kept.due - time.time()
    return f"{_shown(kept.due)}, in {wait:.0f} s" if wait > 0 else "now"


def _shown(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
