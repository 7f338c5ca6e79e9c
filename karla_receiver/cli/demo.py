"""The command `demo`: a real server, every kind of delivery, and whether each answer is right."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from typing import Annotated

import typer

from karla_receiver.cli.deliveries import NamedDelivery, all_deliveries
from karla_receiver.cli.display import Display, JSONLines, Rows, Summary
from karla_receiver.cli.exchange import opened_client
from karla_receiver.cli.shop import Adapter, Shop, serving
from karla_receiver.cli.terminal import AsJSON
from karla_receiver.cli.witness import Rehearsal, Witness
from karla_receiver.request import SUCCESS

__all__ = ["demo", "rehearse"]


def demo(
    adapter: Annotated[
        Adapter,
        typer.Option(
            help="What serves the receiver: asgi on uvicorn, wsgi or flask on waitress.",
        ),
    ] = Adapter.ASGI,
    as_json: AsJSON = False,
) -> None:
    """See a receiver at work: genuine deliveries handled, forged ones refused.

    Starts a real server on this machine with a fresh secret. Sends it every
    sample delivery, correctly signed, and then forged, altered, stale and
    broken ones. Shows each answer, the reason that the receiver logged and
    what its handler saw.

    Examples:

      karla-receiver demo
      karla-receiver demo --adapter flask
      karla-receiver demo --json | jq 'select(.reason)'

    Exit status: 0 if every result was the documented one, 1 if any was not,
    2 for wrong usage, 130 if interrupted.
    """
    secret = secrets.token_urlsafe(32)
    deliveries = all_deliveries(secret, now=int(time.time()))
    summary = rehearse(deliveries, secret, adapter, JSONLines() if as_json else Rows())
    raise typer.Exit(1 if summary.undocumented else 0)


def rehearse(
    deliveries: Iterable[NamedDelivery], secret: str, adapter: Adapter, display: Display
) -> Summary:
    """Send deliveries, one after another, to a server of their own, and show each.

    secret: of the webhook that the server receives at.
    Raises ModuleNotFoundError if adapter needs a framework that is not installed.
    """
    witness = Witness()
    rehearsals: list[Rehearsal] = []
    with (
        witness.listening(),
        serving(adapter, Shop(secret, witness)) as url,
        opened_client(url) as client,
    ):
        display.begin(adapter, url)
        for delivery in deliveries:
            rehearsals.append(witness.deliver(client, url, delivery))
            display.show(rehearsals[-1])
    summary = _summary(rehearsals, adapter)
    display.end(summary)
    return summary


def _summary(rehearsals: list[Rehearsal], adapter: Adapter) -> Summary:
    handled = sum(each.result.status == SUCCESS.status for each in rehearsals)
    return Summary(
        adapter=adapter,
        handled=handled,
        refused=len(rehearsals) - handled,
        undocumented=sum(not each.is_documented for each in rehearsals),
        seconds=sum(each.exchange.seconds for each in rehearsals),
    )
