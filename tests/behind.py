"""Everything that a receiver may have behind its door: a store, an inbox, or neither."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from celery import Celery
from kombu import Queue

from karla_receiver.adapters.celery import CeleryInbox
from karla_receiver.idempotency import MemoryStore, SQLiteStore
from karla_receiver.inbox import SQLiteInbox
from karla_receiver.receiver import ReceiverOptions
from tests.inbox.stock import states
from tests.waiting import until

__all__ = ["BEHIND", "INBOXES", "Behind", "Kept"]

_names = itertools.count()


class Kept(NamedTuple):
    """The options of a receiver. handle: returns when all that was kept has been handled."""

    options: ReceiverOptions
    handle: Callable[[], object]


Behind: TypeAlias = Callable[[Path], AbstractContextManager[Kept]]


@contextmanager
def _nothing(folder: Path) -> Generator[Kept]:
    yield Kept({}, lambda: None)


@contextmanager
def _memory_store(folder: Path) -> Generator[Kept]:
    yield Kept({"idempotency": MemoryStore()}, lambda: None)


@contextmanager
def _sqlite_store(folder: Path) -> Generator[Kept]:
    store = SQLiteStore(folder / "karla.db")
    yield Kept({"idempotency": store}, lambda: None)
    store.close()


@contextmanager
def _sqlite_inbox(folder: Path) -> Generator[Kept]:
    file = folder / "karla.db"
    inbox = SQLiteInbox(file, workers=1)
    yield Kept({"inbox": inbox}, lambda: until(lambda: set(states(file).values()) == {"done"}))
    inbox.close()


@contextmanager
def _celery_inbox(folder: Path) -> Generator[Kept]:
    name = f"behind-{next(_names)}"
    app: Any = Celery("shop", broker="memory://", set_as_current=False)
    inbox = CeleryInbox(app, queue=name, timeout=60)

    def handle() -> None:
        with app.connection_for_write() as connection:
            message: Any = Queue(name)(connection.default_channel).get()
            message.ack()
        app.tasks[f"karla_receiver.{name}"](*message.payload[0])

    yield Kept({"inbox": inbox}, handle)
    inbox.close()


INBOXES: dict[str, Behind] = {"SQLiteInbox": _sqlite_inbox, "CeleryInbox": _celery_inbox}
BEHIND: dict[str, Behind] = {
    "nothing": _nothing,
    "MemoryStore": _memory_store,
    "SQLiteStore": _sqlite_store,
    **INBOXES,
}
