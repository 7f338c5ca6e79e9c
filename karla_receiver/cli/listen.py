"""The command `listen`: a receiver for local work that shows each delivery as it comes."""

from __future__ import annotations

import logging
import secrets
import time
from pathlib import Path
from queue import SimpleQueue
from typing import Annotated, Protocol

import typer

from karla_receiver import Event, parse_event
from karla_receiver.cli.addresses import DEFAULT_PORT
from karla_receiver.cli.recording import Recorded, Recorder
from karla_receiver.cli.secret_input import ONE, SecretFile, configured_secrets
from karla_receiver.cli.server import attached, serving_asgi
from karla_receiver.cli.terminal import (
    MARKS,
    AsJSON,
    Terminal,
    event_as_json,
    event_in_a_row,
    write_json,
)
from karla_receiver.cli.watching import Seen, WatchedApp
from karla_receiver.observing.logs import logger

__all__ = ["listen"]


def listen(
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Where to listen; 0 for any free port.")
    ] = DEFAULT_PORT,
    host: Annotated[
        str,
        typer.Option(
            help="Where to listen. Other machines reach it only if this is 0.0.0.0 or ::."
        ),
    ] = "127.0.0.1",
    record: Annotated[
        Path | None,
        typer.Option(
            help="Append each delivery to this file, as a line of JSON.",
            dir_okay=False,
            show_default=False,
        ),
    ] = None,
    keep: Annotated[
        int, typer.Option(min=1, help="Keep at least this many deliveries in the recording.")
    ] = 1000,
    count: Annotated[
        int | None,
        typer.Option(min=1, help="Exit after this many deliveries.", show_default=False),
    ] = None,
    tolerance: Annotated[float, typer.Option(help="How many seconds t may differ from now.")] = 300,
    secret_file: SecretFile = None,
    as_json: AsJSON = False,
) -> None:
    """Receive deliveries on this machine, and show each as it comes.

    Shows the verdict, the reason for a refusal, the event and the time it
    took. Takes POST at every path. Without a secret it makes one for the
    session and shows it once.

    Examples:

      karla-receiver listen
      karla-receiver listen --record deliveries.jsonl
      karla-receiver listen --port 0 --count 1 --json

    Recorded deliveries hold personal data: delete the file after use. Their
    bytes are exact, for `explain` and `replay`.

    Exit status: 0 if --count deliveries were all accepted, 1 if one was
    refused, 2 for wrong usage, such as a port in use; 130 if interrupted.
    """
    given = configured_secrets(secret_file)
    made = () if given else (secrets.token_urlsafe(32),)
    recorder = None if record is None else Recorder(record, keep)
    display: _Display = _JSON() if as_json else _Rows(record)
    seen: SimpleQueue[Seen] = SimpleQueue()
    app = WatchedApp(*given, *made, tolerance=tolerance, notify=seen.put)
    with (
        attached(logger, logging.NullHandler()),  # the rows say more
        serving_asgi(app, host, port) as url,
    ):
        display.begin(url, *made)
        is_any_refused = False
        while count is None or count > 0:
            one = seen.get()
            if recorder is not None:
                recorder.add(one.delivery)
            display.show(one)
            is_any_refused |= one.delivery.reason is not None
            count = None if count is None else count - 1
    raise typer.Exit(1 if is_any_refused else 0)


class _Display(Protocol):
    def begin(self, url: str, *made: str) -> None: ...

    def show(self, seen: Seen) -> None: ...


class _Rows:
    def __init__(self, record: Path | None) -> None:
        self._terminal = Terminal()
        self._record = record
        self._is_first = True

    def begin(self, url: str, *made: str) -> None:
        self._terminal.print(f"Listening at {url}", style="bold")
        for secret in made:
            self._terminal.print(f"A secret for this session:\n  export {ONE}={secret}")
        self._terminal.print("Ctrl-C ends it.", style="dim")

    def show(self, seen: Seen) -> None:
        delivery = seen.delivery
        is_accepted = delivery.reason is None
        at = time.strftime("%H:%M:%S", time.localtime(delivery.received_at))
        self._terminal.print(at, end=" ", style="dim")
        mark, style = MARKS[is_accepted]
        self._terminal.print(mark, end=" ", style=style)
        self._terminal.print(
            f"{delivery.status or '---'} {_story(delivery)}"
            f" ({len(delivery.body)} bytes, {seen.seconds * 1000:.1f} ms)"
        )
        if not is_accepted and self._is_first:
            self._is_first = False
            file = "FILE" if self._record is None else str(self._record)
            how = f"karla-receiver explain {file}"
            hint = how if self._record else f"listen with --record FILE, then {how}"
            self._terminal.print(f"         why? {hint}", style="dim")


class _JSON:
    def begin(self, url: str, *made: str) -> None:
        write_json({"type": "listening", "url": url, "secret": made[0] if made else None})

    def show(self, seen: Seen) -> None:
        delivery = seen.delivery
        event = _event(delivery)
        write_json(
            {
                "type": "delivery",
                "received_at": delivery.received_at,
                "method": delivery.method,
                "path": delivery.path,
                "status": delivery.status,
                "reason": delivery.reason,
                "event": None if event is None else event_as_json(event),
                "bytes": len(delivery.body),
                "milliseconds": round(seen.seconds * 1000, 3),
            }
        )


def _event(delivery: Recorded) -> Event | None:
    # What is not verified is not parsed.
    return None if delivery.reason is not None else parse_event(delivery.body)


def _story(delivery: Recorded) -> str:
    event = _event(delivery)
    return f"{delivery.reason}" if event is None else event_in_a_row(event)
