"""Django's handlers in a worker of this process, and a database that is restarted under them."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections

from karla_receiver import Event, Receiver
from karla_receiver.adapters.django import endpoint
from karla_receiver.inbox import SQLiteInbox
from tests.frameworks.django import routed
from tests.inbox.stock import states
from tests.many_machines.postgresql_server import PostgreSQL
from tests.observed import Keeper
from tests.signing import SECRET, signed
from tests.waiting import until

pytestmark = pytest.mark.slow

MOST_SECONDS = 600


@pytest.fixture(params=[0, MOST_SECONDS], ids=["no persistence", "persistent"], name="age")
def _age(request: pytest.FixtureRequest, postgresql: PostgreSQL) -> Generator[int]:
    """Have the alias `postgresql`, whose connections may get this old, in seconds."""
    age: int = request.param
    connections.settings["postgresql"] = {
        **connections.settings["default"],
        **postgresql.settings,
        "CONN_MAX_AGE": age,
    }
    yield age
    connections["postgresql"].close()
    del connections["postgresql"], connections.settings["postgresql"]


def ask() -> None:
    with connections["postgresql"].cursor() as cursor:
        cursor.execute("SELECT 1")


LAST = "parcels/10"


def handle(event: Event) -> None:
    ask()
    if event.ref == LAST:
        connections["postgresql"].close()  # it would stay open until the thread is forgotten


async def handle_async(event: Event) -> None:
    await sync_to_async(ask)()


def bodies(count: int) -> list[bytes]:
    return [b'{"event_group":"parcel","ref":"parcels/%d"}' % number for number in range(count)]


@pytest.mark.parametrize("handler", [handle, handle_async], ids=["sync", "async"])
def test_handlers_in_a_worker_survive_a_restart_of_the_database(
    handler: Callable[[Event], Any], postgresql: PostgreSQL, age: int, tmp_path: Path
) -> None:
    file = tmp_path / "karla.db"
    keeper = Keeper()
    inbox = SQLiteInbox(file, workers=1, first_retry=0.01, longest_retry=0.01)
    receiver = Receiver(SECRET, inbox=inbox, observer=keeper)
    receiver.on("*")(handler)
    before, *after = bodies(11)

    def deliver(body: bytes) -> None:
        assert receiver.receive(signed(body)).status == 200
        until(lambda: set(states(file).values()) == {"done"})

    with routed(endpoint(receiver)):
        deliver(before)
        postgresql.stop()
        postgresql.start()
        for body in after:
            deliver(body)
    inbox.close()

    failed = [attempt for attempt in keeper.attempts() if attempt[0] != "handled"]
    is_persistent = age > 0 and handler is handle
    assert len(failed) == (1 if is_persistent else 0), "the worker had a connection, and it broke"
    assert len(keeper.attempts()) == 11 + len(failed)
