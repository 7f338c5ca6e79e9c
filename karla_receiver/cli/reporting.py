"""Delivering, and showing the answers: counted and timed, or as lines of JSON."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from karla_receiver.cli.exchange import Exchange
from karla_receiver.cli.sending import Maker, deliver_all
from karla_receiver.cli.terminal import MARKS, Terminal, write_json

__all__ = ["deliver_and_report", "report"]

_HINTS: Final = {
    401: (
        "Is KARLA_WEBHOOK_SECRET the app's secret? To see why: run `karla-receiver listen --record"
        " FILE` with the app's secret, send there, then `karla-receiver explain FILE`."
    ),
    404: "Nothing is served there: is the path of --to the one of your endpoint?",
    405: "Nothing there takes a POST: is the path of --to the one of your endpoint?",
}
_MOST_LABELS: Final = 10
_QUANTILES: Final = {"median": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


def deliver_and_report(
    makers: Sequence[Maker], url: str, *, concurrency: int, as_json: bool
) -> bool:
    """Make, deliver and show each delivery, and return whether all answers are right."""
    started = time.perf_counter()
    exchanges = deliver_all(makers, url, concurrency=concurrency, as_json=as_json)
    return report(exchanges, seconds=time.perf_counter() - started, as_json=as_json)


def report(exchanges: Sequence[Exchange], *, seconds: float, as_json: bool) -> bool:
    """Show the answers, and return whether all of them are right. seconds: all took together."""
    wrong = sum(not exchange.is_right for exchange in exchanges)
    latencies = sorted(exchange.seconds for exchange in exchanges)
    if as_json:
        for exchange in exchanges:
            write_json(_as_json(exchange))
        write_json(
            {
                "type": "summary",
                "answers": len(exchanges),
                "wrong": wrong,
                "seconds": round(seconds, 3),
                "milliseconds": {
                    name: round(_quantile(latencies, share) * 1000, 3)
                    for name, share in _QUANTILES.items()
                },
            }
        )
        return wrong == 0
    terminal = Terminal()
    for (is_right, text), alike in _grouped(exchanges).items():
        mark, style = MARKS[is_right]
        terminal.print(mark, end=" ", style=style)
        counted = f"{len(alike)} x {text}" if len(exchanges) > 1 else text
        terminal.print(counted if is_right else counted + _labels(alike))
    times = ", ".join(
        f"{name} {_quantile(latencies, share) * 1000:.1f}" for name, share in _QUANTILES.items()
    )
    for hint in sorted({_hint(each) for each in exchanges if not each.is_right} - {""}):
        terminal.print(f"   {hint}")
    if len(exchanges) > 1:
        rate = len(exchanges) / seconds
        terminal.print(f"{len(exchanges)} in {seconds:.2f} s, {rate:.0f} a second; ms: {times}")
    return wrong == 0


def _hint(exchange: Exchange) -> str:
    """Return what a wrong answer to a genuine delivery usually means; empty if it says nothing."""
    status = exchange.status
    if status is None:
        return ""
    if 300 <= status < 400:
        return "Karla follows no redirect: give the URL that answers by itself, slash and all."
    return _HINTS.get(status, "")


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def _grouped(exchanges: Sequence[Exchange]) -> dict[tuple[bool, str], list[Exchange]]:
    grouped: dict[tuple[bool, str], list[Exchange]] = {}
    for exchange in exchanges:
        is_timed = len(exchanges) == 1 and exchange.problem is None
        milliseconds = f" in {exchange.seconds * 1000:.1f} ms" if is_timed else ""
        text = f"{exchange.delivery.name}: {exchange.told}{milliseconds}"
        grouped.setdefault((exchange.is_right, text), []).append(exchange)
    return grouped


def _labels(exchanges: Sequence[Exchange]) -> str:
    labels = [each.delivery.label for each in exchanges if each.delivery.label is not None]
    shown = [*labels[:_MOST_LABELS], "..."] if len(labels) > _MOST_LABELS else labels
    return f" ({', '.join(shown)})" if shown else ""


def _as_json(exchange: Exchange) -> dict[str, object]:
    return {
        "type": "answer",
        "name": exchange.delivery.name,
        "label": exchange.delivery.label,
        "status": exchange.status,
        "reason": exchange.reason,
        "problem": exchange.problem,
        "is_right": exchange.is_right,
        "milliseconds": round(exchange.seconds * 1000, 3),
    }
