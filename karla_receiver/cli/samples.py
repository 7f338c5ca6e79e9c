"""The command `samples`: what deliveries look like."""

from __future__ import annotations

from typing import Annotated

import typer

from karla_receiver import parse_event, samples
from karla_receiver.cli.completion import sample_names
from karla_receiver.cli.content import sample
from karla_receiver.cli.output import write_bytes, write_json

__all__ = ["list_samples"]


def list_samples(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Print this one, byte for byte.", autocompletion=sample_names, show_default=False
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="List as JSON, an object a line, for programs.")
    ] = False,
) -> None:
    """List the sample deliveries, or print one.

    Examples:

      karla-receiver samples
      karla-receiver samples shipment_delivered | jq .event_data
      karla-receiver samples claim_created > claim.json

    Exit status: 0; 2 for wrong usage, such as a name that is not listed.
    """
    if name is not None:
        write_bytes(sample(name))
        return
    for each in samples.names():
        event = parse_event(samples.read(each))
        if as_json:
            write_json({"name": each, "ref": event.ref, "event_group": event.event_group})
        else:
            typer.echo(f"{each:38} {event.ref}")
