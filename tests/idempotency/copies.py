"""An app that counts, in a file, how often it has handled a delivery; served by the test beside."""

from __future__ import annotations

import os
import time

from karla_receiver import Event, Receiver
from karla_receiver.adapters.asgi import KarlaApp
from karla_receiver.adapters.redis import RedisStore
from karla_receiver.idempotency import IdempotencyStore, MemoryStore

SECRET = "secret-of-the-copies"
HANDLING_SECONDS = 0.5


def make_app() -> KarlaApp:
    """Make the app over the store that STORE names, with EFFECTS as the file."""
    name = os.environ["STORE"]
    store: IdempotencyStore = MemoryStore() if name == "memory" else RedisStore(name)
    receiver = Receiver(SECRET, idempotency=store)

    @receiver.on("*")
    def count(event: Event) -> None:
        time.sleep(HANDLING_SECONDS)
        with open(os.environ["EFFECTS"], "ab", buffering=0) as effects:  # noqa: PTH123 - unbuffered
            effects.write(b".")

    return KarlaApp(receiver)
