"""The command `verify`: whether a body and a signature header belong together."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from karla_receiver import ConfigurationError, SignatureError, Verifier
from karla_receiver.cli.completion import sample_names
from karla_receiver.cli.content import STANDARD_INPUT, content_of
from karla_receiver.cli.secret_input import SecretFile, ask_or_refuse
from karla_receiver.cli.terminal import Terminal, write_json
from karla_receiver.cli.times import unix_seconds

__all__ = ["verify"]


def verify(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="A file, a sample, or - for standard input.",
            autocompletion=sample_names,
        ),
    ] = STANDARD_INPUT,
    signature: Annotated[
        list[str] | None,
        typer.Option(
            help="The value of the Karla-Signature header; again for each further line.",
            show_default=False,
        ),
    ] = None,
    at: Annotated[
        float | None,
        typer.Option(
            parser=unix_seconds,
            metavar="TIME",
            help="Verify as of this time: unix seconds, ISO or 2h; now if left out.",
            show_default=False,
        ),
    ] = None,
    tolerance: Annotated[float, typer.Option(help="How many seconds t may differ from now.")] = 300,
    secret_file: SecretFile = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write a JSON object with the verdict.")
    ] = False,
) -> None:
    """Verify a body against its signature header.

    Several secrets in KARLA_WEBHOOK_SECRETS are tried in turn.

    Examples:

      karla-receiver verify body.json --signature "$header"
      karla-receiver verify body.json --signature "$header" --at 1700000000
      karla-receiver verify --signature "$header" < body.json

    Exit status: 0 if it verifies, 1 if not, 2 for wrong usage.
    """
    content = content_of(source)
    if signature is None:
        raise ConfigurationError(
            "there is nothing to verify: give the header's value with --signature"
        )
    now = time.time() if at is None else at
    verifier = Verifier(*ask_or_refuse(secret_file), tolerance=tolerance, clock=lambda: now)
    try:
        verified = verifier.verify(content, signature)
    except SignatureError as error:
        if as_json:
            write_json({"verified": False, "reason": error.reason, "clock_skew": error.clock_skew})
        else:
            Terminal().print(f"refused: {error}", style="red")
        raise typer.Exit(1) from None
    if as_json:
        skew = now - verified.timestamp
        write_json({"verified": True, "secret_index": verified.secret_index, "clock_skew": skew})
    else:
        Terminal().print(
            f"verified: signed {now - verified.timestamp:.0f} s before, with secret"
            f" {verified.secret_index + 1}",
            style="green",
        )
