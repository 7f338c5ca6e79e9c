"""Showing a demo as it goes: rows for people, or lines of JSON for programs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Protocol

import typer
from rich.text import Text

from karla_receiver import Event
from karla_receiver.cli.deliveries import Delivery
from karla_receiver.cli.exchange import Exchange, Result, documented_result
from karla_receiver.cli.terminal import Terminal

__all__ = ["Display", "JSONLines", "Rows", "Summary"]

_SENT_WIDTH = 33


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a demo came to.

    handled, refused: how many deliveries were answered with success, and how many were not.
    undocumented: how many had another result than the documented one.
    seconds: from sending to answer, of all together.
    """

    adapter: str
    handled: int
    refused: int
    undocumented: int
    seconds: float


class Display(Protocol):
    """Shows one demo."""

    def begin(self, adapter: str, url: str) -> None:
        """Show that url is being served."""

    def show(self, exchange: Exchange) -> None:
        """Show an exchange as soon as it is over."""

    def end(self, summary: Summary) -> None:
        """Show what it came to."""


class Rows:
    """A line for each delivery; what an answer should have been goes beneath a wrong one."""

    def __init__(self) -> None:
        self._console = Terminal(soft_wrap=False)
        self._heading = ""

    def begin(self, adapter: str, url: str) -> None:
        """Show where the receiver is."""
        self._print(Text.assemble(("karla-receiver demo", "bold"), f" ({adapter}) at {url}"))

    def show(self, exchange: Exchange) -> None:
        """Show a row, under a heading where its kind is the first."""
        self._head(exchange.delivery)
        is_right = exchange.is_documented
        self._print(
            Text.assemble(
                ("ok", "green") if is_right else ("!!", "bold red"),
                f" {_status(exchange.result)} ",
                f"{exchange.delivery.sent:{_SENT_WIDTH}} ",
                (_story(exchange.result), "dim" if is_right else "red"),
            )
        )
        if not is_right:
            documented = documented_result(exchange.delivery)
            self._print(
                Text(f"   {_status(documented)} was documented: {_story(documented)}", "red")
            )

    def end(self, summary: Summary) -> None:
        """Show the totals and the verdict."""
        total = summary.handled + summary.refused
        if summary.undocumented:
            verdict = f"{summary.undocumented} of {total} results were not the documented ones."
        else:
            verdict = "Every result was the documented one."
        style = "bold red" if summary.undocumented else "bold green"
        self._print(
            Text.assemble(
                f"\n{summary.handled} handled, {summary.refused} refused,"
                f" in {summary.seconds:.2f} s. ",
                (verdict, style),
            )
        )

    def _head(self, delivery: Delivery) -> None:
        heading = "Genuine: to be handled" if delivery.reason is None else "To be refused"
        if heading != self._heading:
            self._heading = heading
            self._print(Text(f"\n{heading}", "bold"))

    def _print(self, text: Text) -> None:
        self._console.print(text, no_wrap=True, overflow="ellipsis")


class JSONLines:
    """An object for each delivery, and a last one with the summary."""

    def begin(self, adapter: str, url: str) -> None:
        """Show nothing: there is nothing in it for a program."""

    def show(self, exchange: Exchange) -> None:
        """Write an object of the type `delivery`."""
        delivery, result = exchange.delivery, exchange.result
        documented = documented_result(delivery)
        _write(
            {
                "type": "delivery",
                "name": delivery.name,
                "sent": delivery.sent,
                "status": result.status,
                "reason": _reason(result),
                "handled": [_event(event) for event in result.events],
                "documented": {"status": documented.status, "reason": _reason(documented)},
                "is_documented": exchange.is_documented,
                "milliseconds": round(exchange.seconds * 1000, 3),
            }
        )

    def end(self, summary: Summary) -> None:
        """Write an object of the type `summary`."""
        _write({"type": "summary", **asdict(summary), "seconds": round(summary.seconds, 3)})


def _write(line: dict[str, object]) -> None:
    typer.echo(json.dumps(line))


def _status(result: Result) -> str:
    return "---" if result.status is None else str(result.status)


def _reason(result: Result) -> str | None:
    return ", ".join(result.reasons) or None


def _event(event: Event) -> dict[str, str | None]:
    return {
        "event_type": type(event).__name__,
        "ref": event.ref,
        "order_number": event.order_number,
    }


def _story(result: Result) -> str:
    # The order number first: a narrow terminal cuts off the end.
    seen = "; ".join(
        f"{event.order_number or '-'} {event.ref or '-'} {type(event).__name__}"
        for event in result.events
    )
    return ", ".join(filter(None, (_reason(result), seen or "no handler called")))
