"""An app that counts, in a file, how often it has handled a delivery; served by the test beside."""

from __future__ import annotations

import os
from pathlib import Path

from karla_receiver import Event, Receiver
from karla_receiver.adapters.asgi import KarlaApp
from karla_receiver.adapters.redis import RedisStore
from karla_receiver.idempotency import MemoryStore, SQLiteStore
from karla_receiver.inbox import SQLiteInbox
from tests.signing import SECRET
from tests.waiting import until


def make_receiver(kind: str, place: str) -> Receiver:
    """Make one over a store or an inbox. place: the URL or path of it, if it has one."""
    match kind:
        case "memory":
            return Receiver(SECRET, idempotency=MemoryStore())
        case "sqlite":
            return Receiver(SECRET, idempotency=SQLiteStore(place))
        case "inbox":
            return Receiver(SECRET, inbox=SQLiteInbox(place, workers=2))
        case _:
            return Receiver(SECRET, idempotency=RedisStore(place))


def make_app() -> KarlaApp:
    """Make the app over what STORE names, as in `sqlite karla.db`; EFFECTS is the file.

    The handler ends when there is a file GATE.
    """
    kind, _, place = os.environ["STORE"].partition(" ")
    receiver = make_receiver(kind, place)

    @receiver.on("*")
    def count(event: Event) -> None:
        until(Path(os.environ["GATE"]).exists)
        with open(os.environ["EFFECTS"], "ab", buffering=0) as effects:  # noqa: PTH123 - unbuffered
            effects.write(b".")

    return KarlaApp(receiver)
