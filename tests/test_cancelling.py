"""A request that is cancelled at its first await, its second, and so on until it gets through."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from pathlib import Path
from typing import Any

import pytest

from karla_receiver import Event, Receiver, Request, Response
from karla_receiver.idempotency import MemoryStore, SQLiteStore
from karla_receiver.inbox import SQLiteInbox
from tests.inbox.stock import query
from tests.signing import SECRET, signed

Options = Callable[[Path], dict[str, Any]]
KINDS: dict[str, Options] = {
    "plain": lambda path: {},
    "memory": lambda path: {"idempotency": MemoryStore()},
    "store": lambda path: {"idempotency": SQLiteStore(path)},
    "inbox": lambda path: {"inbox": SQLiteInbox(path)},
    "both": lambda path: {"idempotency": SQLiteStore(path), "inbox": SQLiteInbox(path)},
}


class Cancellation:
    """Cancels a request when it, or what goes on for it, suspends for the n-th time."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.suspensions = 0
        self.request: asyncio.Task[Response] | None = None

    def make_task(
        self, loop: asyncio.AbstractEventLoop, path: Any, **options: Any
    ) -> asyncio.Task[Any]:
        async def run() -> Any:
            return await Steps(path, self)

        return asyncio.Task(run(), loop=loop, **options)

    def count(self) -> None:
        self.suspensions += 1
        if self.suspensions == self.number:
            assert self.request is not None
            self.request.cancel()


class Steps:
    """Awaits a coroutine, and counts how often it suspends."""

    def __init__(self, path: Coroutine[Any, Any, Any], cancellation: Cancellation) -> None:
        self.path = path
        self.cancellation = cancellation

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self.path.__await__()
        error: BaseException | None = None
        while True:
            try:
                waited_for = steps.send(None) if error is None else steps.throw(error)
            except StopIteration as end:
                return end.value
            error = None
            self.cancellation.count()
            try:
                yield waited_for
            except BaseException as raised:  # noqa: BLE001 - thrown on
                error = raised


def delivery_body(number: int) -> bytes:
    return b'{"event_group":"x","ref":"parcels/sent","n":%d}' % number


def request(body: bytes) -> Request:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 20):
            await asyncio.sleep(0)
            yield body[start : start + 20]

    return signed(body, body=chunks())


async def status_if_cancelled_at(receiver: Receiver, number: int) -> tuple[int | None, int]:
    """Return the answer, None if there was none, and how often the request was suspended."""
    cancellation = Cancellation(number)
    loop = asyncio.get_running_loop()
    loop.set_task_factory(cancellation.make_task)
    cancellation.request = loop.create_task(receiver.receive_async(request(delivery_body(number))))
    try:
        status: int | None = (await cancellation.request).status
    except asyncio.CancelledError:
        status = None
    loop.set_task_factory(None)
    # What goes on without the request is finished, as it would be in a server.
    if begun := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(begun)
    return status, cancellation.suspensions


@pytest.mark.parametrize("is_async", [True, False], ids=["async handler", "sync handler"])
@pytest.mark.parametrize("kind", KINDS)
def test_wherever_a_request_is_cancelled_nothing_is_acknowledged_that_is_not_done(
    tmp_path: Path, kind: str, is_async: bool
) -> None:
    file = tmp_path / "karla.db"
    options = KINDS[kind](file)
    receiver = Receiver(SECRET, **options)
    handled: Counter[int] = Counter()

    def handle(event: Event) -> None:
        handled[event.raw["n"]] += 1

    async def handle_async(event: Event) -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        handle(event)

    receiver.on("*")(handle_async if is_async else handle)

    def done() -> dict[int, int]:
        """Return how often each was done: handled, or kept."""
        if "inbox" not in options:
            return dict(handled)
        rows = query(file, "SELECT body FROM karla_content")
        return {number: rows.count((delivery_body(number),)) for number in range(1, 1000)}

    async def cancel_at_each() -> None:
        number = 0
        while True:
            number += 1
            status, suspensions = await status_if_cancelled_at(receiver, number)
            assert status in (None, 200)
            assert status is None or done()[number] == 1
            again = await receiver.receive_async(request(delivery_body(number)))
            # Whoever had claimed it has settled that: no 409.
            assert again.status == 200
            assert kind == "plain" or done()[number] == 1
            assert done()[number] >= 1
            if suspensions < number:
                return

    asyncio.run(cancel_at_each())
    assert max(number for number, times in done().items() if times) > 3
    for each in options.values():
        if hasattr(each, "close"):
            each.close()
