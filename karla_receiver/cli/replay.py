"""The command `replay`: recorded deliveries once more, under fresh signatures."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from karla_receiver import ConfigurationError, sign
from karla_receiver.cli.addresses import DEFAULT_URL, checked_url
from karla_receiver.cli.content import file_content
from karla_receiver.cli.deliveries import NamedDelivery
from karla_receiver.cli.recording import Line, Recorded, decoded
from karla_receiver.cli.reporting import deliver_and_report
from karla_receiver.cli.secret_input import SecretFile, ask_or_refuse
from karla_receiver.cli.sending import AllowRemote, Concurrency, To
from karla_receiver.cli.terminal import AsJSON
from karla_receiver.signature import HEADER
from karla_receiver.testing.deliveries import Delivery

__all__ = ["replay"]


def replay(
    source: Annotated[
        str,
        typer.Argument(metavar="FILE|-", help="What `karla-receiver listen --record` wrote."),
    ],
    to: To = DEFAULT_URL,
    line: Line = None,
    refused: Annotated[
        bool,
        typer.Option(
            "--refused", help="Those that were refused, and only them: they may be forged."
        ),
    ] = False,
    concurrency: Concurrency = 1,
    secret_file: SecretFile = None,
    allow_remote: AllowRemote = False,
    as_json: AsJSON = False,
) -> None:
    """Deliver recorded deliveries again, signed anew.

    The bodies are the recorded bytes. Old signatures would be too old.
    What was refused may be forged, and a new signature would make it
    genuine: it is left out, unless --refused asks for it. So is always
    a body of which only the beginning was recorded.

    Examples:

      karla-receiver replay deliveries.jsonl
      karla-receiver replay deliveries.jsonl --line 7
      karla-receiver replay deliveries.jsonl --to http://127.0.0.1:8000/karla
      tail -n 1 deliveries.jsonl | karla-receiver replay -

    Exit status: 0 if all were answered 200, 1 if not, 2 for wrong usage,
    130 if interrupted.
    """
    url = checked_url(to, allow_remote=allow_remote)
    recorded = decoded(file_content(source), source, line=line)
    asked_for = {
        number: each for number, each in recorded.items() if (each.reason is not None) == refused
    }
    left_out = len(recorded) - len(asked_for)
    chosen = {number: each for number, each in asked_for.items() if not each.is_cut}
    if len(chosen) < len(asked_for):
        told = _were(len(asked_for) - len(chosen))
        typer.echo(f"{told} recorded without the end of the body, and left out", err=True)
        if not chosen:
            raise typer.Exit(1)
    if not chosen and refused:
        typer.echo("none of the recorded deliveries was refused", err=True)
        return
    if not chosen:
        raise ConfigurationError(
            f"{_were(left_out)} refused, and may be forged: --refused signs and sends what was"
        )
    secret = ask_or_refuse(secret_file)[0]
    makers = [partial(_signed_anew, each, number, secret) for number, each in chosen.items()]
    if left_out and not refused:
        typer.echo(f"{_were(left_out)} refused, and left out", err=True)
    makers[0]()  # a secret that cannot sign is told before anything is sent
    is_right = deliver_and_report(makers, url, concurrency=concurrency, as_json=as_json)
    raise typer.Exit(0 if is_right else 1)


def _were(count: int) -> str:
    return "1 delivery was" if count == 1 else f"{count} deliveries were"


def _signed_anew(recorded: Recorded, number: int, secret: str) -> NamedDelivery:
    content_type = next(iter(recorded.lines_of("content-type")), "application/json")
    request = Delivery(
        method=recorded.method,
        headers=(("Content-Type", content_type), (HEADER, sign(recorded.body, secret))),
        body=recorded.body,
    )
    return NamedDelivery(name="delivery", sent="delivery", label=str(number), request=request)
