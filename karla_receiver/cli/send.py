"""The command `send`: a signed delivery, or a bad one, to an endpoint."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from karla_receiver import ConfigurationError
from karla_receiver.cli.addresses import DEFAULT_URL, checked_url
from karla_receiver.cli.completion import sample_names
from karla_receiver.cli.content import changed, content_of
from karla_receiver.cli.deliveries import bad, genuine
from karla_receiver.cli.reporting import deliver_and_report
from karla_receiver.cli.secret_input import SecretFile, ask_or_refuse
from karla_receiver.cli.sending import AllowRemote, Concurrency, Maker, To
from karla_receiver.cli.terminal import AsJSON
from karla_receiver.testing.deliveries import BadKind

__all__ = ["send"]


def send(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SAMPLE|FILE|-",
            help="What to send; see `karla-receiver samples`.",
            autocompletion=sample_names,
        ),
    ] = "shipment_delivered",
    to: To = DEFAULT_URL,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="PATH=VALUE",
            help="Set a value in the body before it is signed; may be repeated.",
            show_default=False,
        ),
    ] = None,
    bad_kinds: Annotated[
        list[BadKind] | None,
        typer.Option("--bad", help="Make this wrong; then a refusal is right.", show_default=False),
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=10_000, help="How many to send.")] = 1,
    concurrency: Concurrency = 1,
    secret_file: SecretFile = None,
    allow_remote: AllowRemote = False,
    as_json: AsJSON = False,
) -> None:
    """Sign a delivery as Karla does, and send it.

    Without --to it goes to where `karla-receiver listen` listens. The secret
    comes from KARLA_WEBHOOK_SECRET, a file or a prompt.

    Examples:

      karla-receiver send
      karla-receiver send claim_created --to http://127.0.0.1:8000/karla
      karla-receiver send --set context.order.order_number=NT-1 --count 100
      karla-receiver send --bad late
      karla-receiver send - < body.json

    Exit status: 0 if all were answered rightly (200; a bad one with a
    refusal), 1 if not, 2 for wrong usage, 130 if interrupted.
    """
    url = checked_url(to, allow_remote=allow_remote)
    if len(bad_kinds or ()) > 1:
        raise ConfigurationError("--bad makes one thing wrong: give it once, and send again")
    # Before a secret is asked for: whoever mistypes a name need not give it twice.
    content = content_of(source)
    secret = ask_or_refuse(secret_file)[0]
    body = changed(content, settings or ())
    make: Maker = (
        partial(bad, bad_kinds[0], body, secret)
        if bad_kinds
        else partial(genuine, source, body, secret)
    )
    make()  # what cannot be made is told before anything is sent
    is_right = deliver_and_report([make] * count, url, concurrency=concurrency, as_json=as_json)
    raise typer.Exit(0 if is_right else 1)
