"""Every way in which handlers come to be called: through each door, and by each worker."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from celery import Celery
from kombu import Queue

from karla_receiver import Receiver
from karla_receiver.adapters.asgi import KarlaApp
from karla_receiver.adapters.celery import CeleryInbox
from karla_receiver.inbox import SQLiteInbox
from tests.doors import Door, Knock, asgi_scope, signed_knock
from tests.frameworks.chosen import DOORS
from tests.inbox.stock import states
from tests.observed import Keeper
from tests.signing import SECRET, signed
from tests.waiting import until

BODY = b'{"event_group":"parcel","ref":"parcels/sent"}'

# Registers handlers with a receiver.
Prepare: TypeAlias = Callable[[Receiver], object]
# Delivers so many times, and returns what came of each, as `Observation.outcome` has it.
Way: TypeAlias = Callable[[Prepare, int], list[str]]

_names = itertools.count()


def numbered(number: int) -> bytes:
    """Return a body of which no inbox takes another for a duplicate."""
    return BODY[:-1] + b',"n":%d}' % number


def _through(door: Door) -> Way:
    def way(prepare: Prepare, count: int) -> list[str]:
        keeper = Keeper()
        receiver = Receiver(SECRET, observer=keeper)
        prepare(receiver)
        for _ in range(count):
            door(receiver, signed_knock(BODY))
        return [seen.outcome for seen in keeper.told]

    return way


@contextmanager
def _with_sqlite_inbox(prepare: Prepare) -> Generator[tuple[Receiver, Callable[[int], list[str]]]]:
    """Yield a receiver, and what returns the outcomes of so many attempts when they are there."""
    keeper = Keeper()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "karla.db"
        # Long enough that no second attempt is made.
        inbox = SQLiteInbox(file, workers=2, first_retry=3600)
        receiver = Receiver(SECRET, inbox=inbox, observer=keeper)
        prepare(receiver)

        def outcomes(count: int) -> list[str]:
            until(lambda: len(keeper.attempts()) == count)
            until(lambda: "running" not in states(file).values())
            return [outcome for outcome, _, _ in keeper.attempts()]

        yield receiver, outcomes
        inbox.close()


def through_sqlite_inbox(prepare: Prepare, count: int) -> list[str]:
    with _with_sqlite_inbox(prepare) as (receiver, outcomes):
        for number in range(count):
            assert receiver.receive(signed(numbered(number))).status == 200
        return outcomes(count)


def through_sqlite_inbox_beside_asgi(prepare: Prepare, count: int) -> list[str]:
    """Have the worker of the process that serves an ASGI app call the handlers."""

    async def serve(receiver: Receiver, outcomes: Callable[[int], list[str]]) -> list[str]:
        app = KarlaApp(receiver)
        for number in range(count):
            assert await status_of(app, signed_knock(numbered(number))) == 200
        return await asyncio.to_thread(outcomes, count)

    with _with_sqlite_inbox(prepare) as (receiver, outcomes):
        return asyncio.run(serve(receiver, outcomes))


async def status_of(app: Any, knock: Knock) -> int:
    """Send a request to an ASGI app on the running loop."""
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": knock.body, "more_body": False}

    async def send(message: Any) -> None:
        statuses.extend([message["status"]] if "status" in message else [])

    await app(asgi_scope(knock), receive, send)
    (status,) = statuses
    return status


def through_celery(prepare: Prepare, count: int) -> list[str]:
    keeper = Keeper()
    name = f"of-a-way-{next(_names)}"
    app: Any = Celery("shop", broker="memory://", set_as_current=False)
    inbox = CeleryInbox(app, queue=name, timeout=60)
    receiver = Receiver(SECRET, inbox=inbox, observer=keeper)
    prepare(receiver)
    for number in range(count):
        assert receiver.receive(signed(numbered(number))).status == 200
    with app.connection_for_write() as connection:
        queue: Any = Queue(name)(connection.default_channel)
        messages = [queue.get(no_ack=True) for _ in range(count)]
    for message in messages:
        app.tasks[f"karla_receiver.{name}"](*message.payload[0])
    inbox.close()
    return [outcome for outcome, _, _ in keeper.attempts()]


WAYS: dict[str, Way] = {
    **{name: _through(door) for name, door in DOORS.items()},
    "sqlite inbox": through_sqlite_inbox,
    "sqlite inbox beside asgi": through_sqlite_inbox_beside_asgi,
    "celery": through_celery,
}
