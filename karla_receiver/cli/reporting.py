"""Showing what came of deliveries: counted and timed, or as lines of JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from karla_receiver.cli.sending import Answer
from karla_receiver.cli.terminal import Terminal, write_json

__all__ = ["report"]

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


def report(answers: Sequence[Answer], *, seconds: float, as_json: bool) -> bool:
    """Show the answers, and return whether all of them are right. seconds: all took together."""
    wrong = sum(not answer.is_right for answer in answers)
    latencies = sorted(answer.seconds for answer in answers)
    if as_json:
        for answer in answers:
            write_json(_as_json(answer))
        write_json(
            {
                "type": "summary",
                "answers": len(answers),
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
    for (is_right, text), alike in _grouped(answers).items():
        mark, style = ("ok", "green") if is_right else ("!!", "bold red")
        terminal.print(mark, end=" ", style=style)
        counted = f"{len(alike)} x {text}" if len(answers) > 1 else text
        terminal.print(counted if is_right else counted + _labels(alike))
    times = ", ".join(
        f"{name} {_quantile(latencies, share) * 1000:.1f}" for name, share in _QUANTILES.items()
    )
    for hint in sorted({_hint(answer) for answer in answers if not answer.is_right} - {""}):
        terminal.print(f"   {hint}")
    if len(answers) > 1:
        rate = len(answers) / seconds
        terminal.print(f"{len(answers)} in {seconds:.2f} s, {rate:.0f} a second; ms: {times}")
    return wrong == 0


def _hint(answer: Answer) -> str:
    """Return what a wrong answer to a genuine delivery usually means; empty if it says nothing."""
    status = answer.status
    if status is None:
        return ""
    if 300 <= status < 400:
        return "Karla follows no redirect: give the URL that answers by itself, slash and all."
    return _HINTS.get(status, "")


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def _grouped(answers: Sequence[Answer]) -> dict[tuple[bool, str], list[Answer]]:
    grouped: dict[tuple[bool, str], list[Answer]] = {}
    for answer in answers:
        outcome = answer.problem or f"{answer.status} {answer.reason or ''}".strip()
        is_timed = len(answers) == 1 and answer.problem is None
        milliseconds = f" in {answer.seconds * 1000:.1f} ms" if is_timed else ""
        key = (answer.is_right, f"{answer.name}: {outcome}{milliseconds}")
        grouped.setdefault(key, []).append(answer)
    return grouped


def _labels(answers: Sequence[Answer]) -> str:
    labels = [answer.label for answer in answers if answer.label is not None]
    shown = [*labels[:_MOST_LABELS], "..."] if len(labels) > _MOST_LABELS else labels
    return f" ({', '.join(shown)})" if shown else ""


def _as_json(answer: Answer) -> dict[str, object]:
    return {
        "type": "answer",
        "name": answer.name,
        "label": answer.label,
        "status": answer.status,
        "reason": answer.reason,
        "problem": answer.problem,
        "is_right": answer.is_right,
        "milliseconds": round(answer.seconds * 1000, 3),
    }
