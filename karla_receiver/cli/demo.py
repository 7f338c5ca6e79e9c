"""The command `demo`: a real server, every kind of delivery, and whether each answer is right."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from typing import Annotated

import httpx2
import typer

from karla_receiver.cli.deliveries import Delivery, all_deliveries
from karla_receiver.cli.display import Display, JSONLines, Rows, Summary
from karla_receiver.cli.exchange import Exchange, deliver
from karla_receiver.cli.server import Adapter, serving
from karla_receiver.cli.shop import Shop, Witness
from karla_receiver.request import SUCCESS

__all__ = ["demo", "rehearse"]

_TIMEOUT_SECONDS = 10


def demo(
    adapter: Annotated[
        Adapter,
        typer.Option(
            help="What serves the receiver: asgi on uvicorn, wsgi or flask on waitress.",
        ),
    ] = Adapter.ASGI,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write JSON, an object a line, for programs.")
    ] = False,
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
    deliveries: Iterable[Delivery], secret: str, adapter: Adapter, display: Display
) -> Summary:
    """Send deliveries, one after another, to a server of their own, and show each.

    secret: of the webhook that the server receives at.
    Raises ModuleNotFoundError if adapter needs a framework that is not installed.
    """
    witness = Witness()
    exchanges: list[Exchange] = []
    with (
        witness.listening(),
        serving(adapter, Shop(secret, witness)) as url,
        # No proxy of the environment may come between: the server is on this machine.
        httpx2.Client(trust_env=False, timeout=_TIMEOUT_SECONDS) as client,
    ):
        display.begin(adapter, url)
        for delivery in deliveries:
            exchanges.append(deliver(client, url, delivery, witness))
            display.show(exchanges[-1])
    summary = _summary(exchanges, adapter)
    display.end(summary)
    return summary


def _summary(exchanges: list[Exchange], adapter: Adapter) -> Summary:
    handled = sum(each.result.status == SUCCESS.status for each in exchanges)
    return Summary(
        adapter=adapter,
        handled=handled,
        refused=len(exchanges) - handled,
        undocumented=sum(not each.is_documented for each in exchanges),
        seconds=sum(each.seconds for each in exchanges),
    )
