"""The command `explain`: why a recorded delivery is refused, with proof."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from karla_receiver import ConfigurationError, Reason
from karla_receiver.cli.content import STANDARD_INPUT, content_of, file_content
from karla_receiver.cli.recording import Line, Recorded, decoded
from karla_receiver.cli.secret_input import SecretFile, ask_or_refuse, secret_in_file
from karla_receiver.cli.terminal import Terminal, write_json
from karla_receiver.cli.times import unix_seconds
from karla_receiver.explain import Cause, Code, Explanation
from karla_receiver.explain import explain as explanation_of
from karla_receiver.signature import HEADER

__all__ = ["explain"]

_MOST_GENUINE: Final = 64
_OF_A_CLOCK: Final = {Code.TOO_LATE, Code.CLOCK_BEHIND}


def explain(
    source: Annotated[
        str,
        typer.Argument(metavar="FILE|-", help="What `karla-receiver listen --record` wrote."),
    ] = STANDARD_INPUT,
    line: Line = None,
    signature: Annotated[
        list[str] | None,
        typer.Option(
            help="FILE is a raw body or a sample, and this its Karla-Signature header.",
            show_default=False,
        ),
    ] = None,
    at: Annotated[
        float | None,
        typer.Option(
            parser=unix_seconds,
            metavar="TIME",
            help="When it was received: unix seconds, ISO or 2h; else as recorded, or now.",
            show_default=False,
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(help="How many seconds t may differ from then.")
    ] = 300,
    secret_file: SecretFile = None,
    other_secret_file: Annotated[
        list[Path] | None,
        typer.Option(
            help="A secret of another environment to try; may be repeated.",
            dir_okay=False,
            show_default=False,
        ),
    ] = None,
    other_secret_env: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A variable that holds another secret to try; may be repeated.",
            show_default=False,
        ),
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Learn the order of keys here: a recording, or the body, of genuine deliveries.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write JSON, an object a delivery, for programs.")
    ] = False,
) -> None:
    """Say why a delivery was refused, and prove it where the signature can.

    Starts from the recorded reason. Of a signature it tries what usually
    happens to a body, a header, a secret and a clock, until it fits. Works
    offline. Give the secret exactly as the app that refuses has it. As
    everywhere, a newline at the end of a secret's file is no part of it.

    Examples:

      karla-receiver listen --record deliveries.jsonl
      karla-receiver explain deliveries.jsonl
      tail -n 1 deliveries.jsonl | karla-receiver explain
      karla-receiver explain body.json --signature "t=...,v1=..."
      karla-receiver explain deliveries.jsonl --other-secret-file old.txt
      karla-receiver explain deliveries.jsonl --like deliveries.jsonl

    Exit status: 0 if none was refused and all verify, 1 if not, 2 for wrong
    usage.
    """
    deliveries = _deliveries(source, line, signature, at)
    others = {
        str(file): secret_in_file(file, "--other-secret-file") for file in other_secret_file or ()
    }
    others |= {name: _in_environment(name) for name in other_secret_env or ()}
    genuine = _genuine_bodies(like) if like is not None else []
    given = ask_or_refuse(secret_file)
    is_any_refused = False
    for number, delivery in deliveries.items():
        explanation = explanation_of(
            delivery.body,
            delivery.signature,
            *given,
            now=delivery.received_at if at is None else at,
            tolerance=tolerance,
            others=others,
            headers=delivery.headers,
            like=genuine,
            refused=delivery.reason if delivery.reason in set(Reason) else None,
            is_whole=not delivery.is_cut,
        )
        if at is not None:
            explanation = _doubting_at(explanation)
        is_any_refused |= delivery.reason is not None or not explanation.verifies
        if as_json:
            write_json({"delivery": number, **msgspec.to_builtins(explanation)})
        else:
            _show(number, delivery, explanation)
    raise typer.Exit(1 if is_any_refused else 0)


def _deliveries(
    source: str, line: int | None, signature: list[str] | None, at: float | None
) -> dict[int, Recorded]:
    for value in signature or ():
        if "=" not in value:
            raise ConfigurationError(
                f"--signature takes a Karla-Signature header, which looks like t=...,v1=...,"
                f" not {value[:40]!a}"
            )
    if signature is not None:
        content = content_of(source)
        received_at = time.time() if at is None else at
        headers = [(HEADER, value) for value in signature]
        return {1: Recorded(received_at=received_at, headers=headers, body=content)}
    content = file_content(source)
    try:
        return decoded(content, source, line=line)
    except ConfigurationError as error:
        if line is not None:
            raise
        raise ConfigurationError(
            f"{error}; for a raw body give its header with --signature"
        ) from None


def _genuine_bodies(file: str) -> list[bytes]:
    content = file_content(file)
    try:
        recorded = decoded(content, file).values()
    except ConfigurationError:
        return [content]
    bodies = [each.body for each in recorded if each.reason is None]
    if not bodies:
        raise ConfigurationError(f"--like {file}: no delivery in it was accepted")
    return bodies[-_MOST_GENUINE:]


def _doubting_at(explanation: Explanation) -> Explanation:
    """Add that no clock need be wrong: the time of receipt is the user's own."""
    causes = tuple(
        msgspec.structs.replace(cause, fix=f"{cause.fix} Or --at is not when it arrived.")
        if cause.code in _OF_A_CLOCK
        else cause
        for cause in explanation.causes
    )
    return msgspec.structs.replace(explanation, causes=causes)


def _in_environment(name: str) -> str:
    if name not in os.environ:
        raise ConfigurationError(f"--other-secret-env {name}: there is no such variable")
    return os.environ[name]


def _show(number: int, delivery: Recorded, explanation: Explanation) -> None:
    terminal = Terminal()
    method = "" if delivery.method == "POST" else f"{delivery.method[:20]}, "
    size = f"{len(delivery.body)} bytes"
    terminal.print(f"Delivery {number}, {method}{size}: ", end="", style="bold")
    verdict = "verifies" if explanation.reason is None else str(explanation.reason)
    if explanation.reason is None and delivery.reason is not None:
        verdict += f", and was refused as {delivery.reason[:40]!a}"
    is_right = explanation.verifies and delivery.reason is None
    terminal.print(verdict, style="green" if is_right else "bold red")
    for cause in explanation.causes:
        _show_cause(terminal, "Cause", cause)
    if not explanation.verifies:
        _show_proof(terminal, explanation)
    for hint in explanation.hints:
        _show_cause(terminal, "Hint", hint)


def _show_proof(terminal: Terminal, explanation: Explanation) -> None:
    codes = {cause.code for cause in explanation.causes}
    if explanation.is_proven:
        is_as_it_came = codes <= {*_OF_A_CLOCK, Code.VERIFIES_HERE, *map(str, Reason)}
        how = "the signature fits" if is_as_it_came else "with this undone, the signature fits"
        terminal.print(f"  Proven: {how}.", style="green")
        return
    if any(hint.code == Code.BODY_CUT for hint in explanation.hints):
        return  # which says all
    bound = "" if explanation.is_complete else ", where the search ended"
    tried = f"{explanation.tried} signatures were computed{bound}, and none fits."
    if not codes:
        terminal.print(
            f"  Not known: {tried}\n"
            "  It is forged, or signed with another secret (try --other-secret-file), or its body\n"
            "  or header was changed in a way that cannot be undone."
        )
    elif explanation.tried:
        terminal.print(f"  Not proven genuine: {tried}")
    else:
        terminal.print("  Not proven genuine: no signature fits the secret given here.")


def _show_cause(terminal: Terminal, title: str, cause: Cause) -> None:
    terminal.print(f"  {title}: {cause.sentence}", end=" ", style="bold")
    terminal.print(f"({cause.code})", style="dim")
    terminal.print(f"    Evidence: {cause.evidence}")
    terminal.print(f"    To do: {cause.fix}")
    terminal.print("    Usual places:")
    for place, habit in cause.where.items():
        terminal.print(f"      {place}: {habit}")
