"""Every way in which handlers come to be called: through each door, and by each worker."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from celery import Celery
from kombu import Queue

from karla_receiver import Receiver
from karla_receiver.adapters.celery import CeleryInbox
from karla_receiver.inbox import SQLiteInbox
from tests.doors import Door, signed_knock
from tests.frameworks.chosen import DOORS
from tests.inbox.stock import states
from tests.observed import Keeper
from tests.signing import SECRET, signed
from tests.waiting import until

BODY = b'{"event_group":"parcel","ref":"parcels/sent"}'

# Registers handlers with a receiver.
Prepare: TypeAlias = Callable[[Receiver], object]
# Delivers once, and returns what came of the handlers' calls, as `Observation.outcome` has it.
Way: TypeAlias = Callable[[Prepare], str]

_names = itertools.count()


def _through(door: Door) -> Way:
    def way(prepare: Prepare) -> str:
        keeper = Keeper()
        receiver = Receiver(SECRET, observer=keeper)
        prepare(receiver)
        door(receiver, signed_knock(BODY))
        (seen,) = keeper.told
        return seen.outcome

    return way


def through_sqlite_inbox(prepare: Prepare) -> str:
    keeper = Keeper()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "karla.db"
        # Long enough that no second attempt is made.
        inbox = SQLiteInbox(file, workers=1, first_retry=3600)
        receiver = Receiver(SECRET, inbox=inbox, observer=keeper)
        prepare(receiver)
        assert receiver.receive(signed(BODY)).status == 200
        until(lambda: keeper.attempts() and "running" not in states(file).values())
        inbox.close()
    ((outcome, _, _),) = keeper.attempts()
    return outcome


def through_celery(prepare: Prepare) -> str:
    keeper = Keeper()
    name = f"of-a-way-{next(_names)}"
    app: Any = Celery("shop", broker="memory://", set_as_current=False)
    inbox = CeleryInbox(app, queue=name, timeout=60)
    receiver = Receiver(SECRET, inbox=inbox, observer=keeper)
    prepare(receiver)
    assert receiver.receive(signed(BODY)).status == 200
    with app.connection_for_write() as connection:
        message: Any = Queue(name)(connection.default_channel).get()
        message.ack()
    app.tasks[f"karla_receiver.{name}"](*message.payload[0])
    inbox.close()
    ((outcome, _, _),) = keeper.attempts()
    return outcome


WAYS: dict[str, Way] = {
    **{name: _through(door) for name, door in DOORS.items()},
    "sqlite inbox": through_sqlite_inbox,
    "celery": through_celery,
}
