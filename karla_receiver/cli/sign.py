"""The command `sign`: the header that Karla would send with a body."""

from __future__ import annotations

from typing import Annotated

import typer

from karla_receiver import sign as signature_of
from karla_receiver.cli.completion import sample_names
from karla_receiver.cli.content import STANDARD_INPUT, content_of
from karla_receiver.cli.output import write_json
from karla_receiver.cli.secret_input import SecretFile, ask_or_refuse
from karla_receiver.cli.times import whole_unix_seconds
from karla_receiver.signature import HEADER

__all__ = ["sign"]


def sign(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="A file, a sample, or - for standard input.",
            autocompletion=sample_names,
        ),
    ] = STANDARD_INPUT,
    timestamp: Annotated[
        int | None,
        typer.Option(
            parser=whole_unix_seconds,
            metavar="TIME",
            help="The time to sign: unix seconds, ISO or 2h; now if left out.",
            show_default=False,
        ),
    ] = None,
    secret_file: SecretFile = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write a JSON object with header and value.")
    ] = False,
) -> None:
    """Print the Karla-Signature header's value for a body.

    The secret comes from KARLA_WEBHOOK_SECRET, a file or a prompt. Of
    several the first one signs.

    Examples:

      karla-receiver sign body.json
      curl --data-binary @body.json https://shop.test/webhooks/karla \\
        -H "Karla-Signature: $(karla-receiver sign body.json)"

    Exit status: 0; 2 for wrong usage, such as no secret.
    """
    body = content_of(source)
    value = signature_of(body, ask_or_refuse(secret_file)[0], timestamp=timestamp)
    if as_json:
        write_json({"header": HEADER, "value": value})
    else:
        typer.echo(value)
