"""Showing a demo as it goes: rows for people, or lines of JSON for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Protocol

from rich.text import Text

from karla_receiver.cli.deliveries import NamedDelivery
from karla_receiver.cli.terminal import (
    MARKS,
    Terminal,
    event_as_json,
    event_in_a_row,
    write_json,
)
from karla_receiver.cli.witness import Rehearsal, Result

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

    def show(self, rehearsal: Rehearsal) -> None:
        """Show an exchange and its result, as soon as it is over."""

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

    def show(self, rehearsal: Rehearsal) -> None:
        """Show a row, under a heading where its kind is the first."""
        delivery, result = rehearsal.exchange.delivery, rehearsal.result
        self._head(delivery)
        is_right = rehearsal.is_documented
        self._print(
            Text.assemble(
                MARKS[is_right],
                f" {_status(result)} ",
                f"{delivery.sent:{_SENT_WIDTH}} ",
                (_story(result), "dim" if is_right else "red"),
            )
        )
        if not is_right:
            documented = rehearsal.documented
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

    def _head(self, delivery: NamedDelivery) -> None:
        is_genuine = delivery.request.reason is None
        heading = "Genuine: to be handled" if is_genuine else "To be refused"
        if heading != self._heading:
            self._heading = heading
            self._print(Text(f"\n{heading}", "bold"))

    def _print(self, text: Text) -> None:
        self._console.print(text, no_wrap=True, overflow="ellipsis")


class JSONLines:
    """An object for each delivery, and a last one with the summary."""

    def begin(self, adapter: str, url: str) -> None:
        """Show nothing: there is nothing in it for a program."""

    def show(self, rehearsal: Rehearsal) -> None:
        """Write an object of the type `delivery`."""
        delivery, result = rehearsal.exchange.delivery, rehearsal.result
        documented = rehearsal.documented
        write_json(
            {
                "type": "delivery",
                "name": delivery.name,
                "sent": delivery.sent,
                "status": result.status,
                "reason": _reason(result),
                "handled": [event_as_json(event) for event in result.events],
                "documented": {"status": documented.status, "reason": _reason(documented)},
                "is_documented": rehearsal.is_documented,
                "milliseconds": round(rehearsal.exchange.seconds * 1000, 3),
            }
        )

    def end(self, summary: Summary) -> None:
        """Write an object of the type `summary`."""
        write_json({"type": "summary", **asdict(summary), "seconds": round(summary.seconds, 3)})


def _status(result: Result) -> str:
    return "---" if result.status is None else str(result.status)


def _reason(result: Result) -> str | None:
    return ", ".join(result.reasons) or None


def _story(result: Result) -> str:
    seen = "; ".join(map(event_in_a_row, result.events))
    return ", ".join(filter(None, (_reason(result), seen or "no handler called")))
