"""Delivering to an endpoint: several at a time, bounded, to this machine unless told otherwise."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Annotated, TypeAlias

import typer
from rich.console import Console
from rich.progress import Progress

from karla_receiver.cli.deliveries import NamedDelivery
from karla_receiver.cli.exchange import Exchange, deliver, opened_client

__all__ = ["AllowRemote", "Concurrency", "Maker", "To", "deliver_all"]

_WAIT_SECONDS = 0.5

To: TypeAlias = Annotated[str, typer.Option("--to", metavar="URL", help="Where to deliver.")]
AllowRemote: TypeAlias = Annotated[
    bool, typer.Option("--allow-remote", help="Deliver to other machines than this one too.")
]
Concurrency: TypeAlias = Annotated[
    int, typer.Option(min=1, max=64, help="How many to deliver at a time.")
]
# Called just before sending, so that signatures are fresh; None is not sent.
Maker: TypeAlias = Callable[[], NamedDelivery | None]


def deliver_all(
    makers: Sequence[Maker], url: str, *, concurrency: int, as_json: bool
) -> list[Exchange]:
    """Make and deliver each delivery, and return them in the order in which answers came."""
    exchanges: list[Exchange] = []
    with (
        opened_client(url, connections=concurrency) as client,
        _progress(len(makers), is_shown=not as_json) as advance,
    ):

        def make_and_deliver(make: Maker) -> Exchange | None:
            delivery = make()
            return None if delivery is None else deliver(client, url, delivery)

        for exchange in _exchanges(make_and_deliver, makers, concurrency):
            if exchange is not None:
                exchanges.append(exchange)
            advance()
    return exchanges


def _exchanges(
    exchange: Callable[[Maker], Exchange | None], makers: Sequence[Maker], concurrency: int
) -> Iterator[Exchange | None]:
    """Yield the exchanges as they end; what one raises is raised here."""
    open_ones = deque(makers)
    done: SimpleQueue[Exchange | Exception | None] = SimpleQueue()

    def work() -> None:
        with suppress(IndexError):
            while True:
                make = open_ones.popleft()
                try:
                    done.put(exchange(make))
                except Exception as error:  # noqa: BLE001 - it is raised by whoever waits
                    done.put(error)

    # Daemons, for an executor's threads are waited for at the end of the program: an interrupt
    # would last until every answer under way has come.
    for _ in range(min(concurrency, len(makers))):
        threading.Thread(target=work, name="deliver", daemon=True).start()
    try:
        for _ in makers:
            ended = _next(done)
            if isinstance(ended, Exception):
                raise ended
            yield ended
    finally:
        open_ones.clear()  # nothing more is sent than what is under way


def _next(done: SimpleQueue[Exchange | Exception | None]) -> Exchange | Exception | None:
    # In short waits: a signal that comes just before a wait does not interrupt it.
    while True:
        try:
            return done.get(timeout=_WAIT_SECONDS)
        except Empty:
            continue


@contextmanager
def _progress(total: int, *, is_shown: bool) -> Generator[Callable[[], None]]:
    console = Console(stderr=True)
    is_shown = is_shown and total > 1 and console.is_terminal
    with Progress(console=console, transient=True, disable=not is_shown) as progress:
        task = progress.add_task("Delivering", total=total)
        yield lambda: progress.advance(task)
