"""Delivering to an endpoint: several at a time, bounded, to this machine unless told otherwise."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Annotated, TypeAlias
from urllib.parse import urlsplit

import httpx2
import typer
from rich.console import Console
from rich.progress import Progress

from karla_receiver.checks import is_loopback
from karla_receiver.cli.deliveries import Delivery
from karla_receiver.signature import HEADER
from karla_receiver.testing.answers import refusals

__all__ = ["AllowRemote", "Answer", "Concurrency", "To", "deliver_all"]

_TIMEOUT_SECONDS = 15
_WAIT_SECONDS = 0.5
_REASON = re.compile(r"[a-z0-9_]{1,40}")

To: TypeAlias = Annotated[str, typer.Option("--to", metavar="URL", help="Where to deliver.")]
AllowRemote: TypeAlias = Annotated[
    bool, typer.Option("--allow-remote", help="Deliver to other machines than this one too.")
]
Concurrency: TypeAlias = Annotated[
    int, typer.Option(min=1, max=64, help="How many to deliver at a time.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of one delivery.

    name, label: of the delivery. status: None if no answer came, and then problem says why.
    is_right: a genuine one was answered 200, a bad one with a refusal, as `refusals` has them.
    """

    name: str
    label: str | None = None
    status: int | None
    reason: str | None
    problem: str | None
    seconds: float
    is_right: bool


def deliver_all(
    makers: Sequence[Callable[[], Delivery | None]], url: str, *, concurrency: int, as_json: bool
) -> list[Answer]:
    """Make and deliver each delivery, and return the answers in the order they came.

    makers: called just before sending, so that signatures are fresh; None is not sent.
    """
    # A proxy of the environment may serve a remote endpoint, but never this machine.
    is_local = is_loopback(urlsplit(url).hostname)
    limits = httpx2.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    answers: list[Answer] = []
    with (
        httpx2.Client(trust_env=not is_local, timeout=_TIMEOUT_SECONDS, limits=limits) as client,
        _progress(len(makers), is_shown=not as_json) as advance,
    ):
        for answer in _answers(partial(_deliver, client, url), makers, concurrency):
            if answer is not None:
                answers.append(answer)
            advance()
    return answers


def _answers(
    deliver: Callable[[Callable[[], Delivery | None]], Answer | None],
    makers: Sequence[Callable[[], Delivery | None]],
    concurrency: int,
) -> Iterator[Answer | None]:
    """Yield the answers as they come; what a delivery raises is raised here."""
    open_ones = deque(makers)
    done: SimpleQueue[Answer | Exception | None] = SimpleQueue()

    def work() -> None:
        with suppress(IndexError):
            while True:
                make = open_ones.popleft()
                try:
                    done.put(deliver(make))
                except Exception as error:  # noqa: BLE001 - it is raised by whoever waits
                    done.put(error)

    # Daemons, for an executor's threads are waited for at the end of the program: an interrupt
    # would last until every answer under way has come.
    for _ in range(min(concurrency, len(makers))):
        threading.Thread(target=work, name="deliver", daemon=True).start()
    try:
        for _ in makers:
            answer = _next(done)
            if isinstance(answer, Exception):
                raise answer
            yield answer
    finally:
        open_ones.clear()  # nothing more is sent than what is under way


def _next(done: SimpleQueue[Answer | Exception | None]) -> Answer | Exception | None:
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


def _deliver(client: httpx2.Client, url: str, make: Callable[[], Delivery | None]) -> Answer | None:
    delivery = make()
    if delivery is None:
        return None
    # Bytes, for a text would have to be ASCII.
    headers = {b"Content-Type": delivery.content_type.encode("latin-1")}
    if delivery.signature is not None:
        headers[HEADER.encode()] = delivery.signature.encode()
    status, reason, problem = None, None, None
    started = time.perf_counter()
    try:
        answer = client.request(delivery.method, url, content=delivery.body, headers=headers)
        status, reason = answer.status_code, _reason(answer)
    except httpx2.HTTPError as error:
        problem = _problem(error, url)
    seconds = time.perf_counter() - started
    right_ones = {200} if delivery.reason is None else refusals(delivery.method)
    return Answer(
        name=delivery.name,
        label=delivery.label,
        status=status,
        reason=reason,
        problem=problem,
        seconds=seconds,
        is_right=status in right_ones,
    )


def _problem(error: httpx2.HTTPError, url: str) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionRefusedError):
            return f"nothing listens at {url}: start `karla-receiver listen`, or check --to"
        cause = cause.__cause__ or cause.__context__
    return f"{type(error).__name__}: {error}"


def _reason(answer: httpx2.Response) -> str | None:
    if answer.headers.get("content-type") != "application/problem+json":
        return None
    try:
        reason = json.loads(answer.content).get("reason")
    except (ValueError, AttributeError):
        return None
    # An endpoint's own words could hold anything, escape sequences for the terminal too.
    return reason if isinstance(reason, str) and _REASON.fullmatch(reason) else None
