"""A shop on many machines that writes down what it has handled; run by the tests beside."""

from __future__ import annotations

import os
import time

from celery import Celery

from karla_receiver import Event, Receiver
from karla_receiver.adapters import celery as adapter
from karla_receiver.adapters.asgi import KarlaApp
from karla_receiver.adapters.redis import RedisStore
from tests.signing import SECRET

HANDLING_SECONDS = float(os.environ.get("HANDLING_SECONDS", "0.03"))  # before, and after


def make(broker: str, redis: str, effects: str) -> tuple[Celery, KarlaApp]:
    """Make both sides of the shop."""
    app = Celery("shop", broker=broker)
    once = RedisStore(redis, lease=3)
    inbox = adapter.CeleryInbox(app, idempotency=once)
    receiver = Receiver(SECRET, idempotency=once, inbox=inbox)

    @receiver.on("*")
    def write_down(event: Event) -> None:
        time.sleep(HANDLING_SECONDS)
        descriptor = os.open(effects, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{event.order_number}\n".encode())
        os.close(descriptor)
        time.sleep(HANDLING_SECONDS)  # time to be killed in between the effect and the mark

    return app, KarlaApp(receiver)


if "BROKER_URL" in os.environ:  # and not where a test imports the names
    # Not ten seconds, after which a claim is looked at again whose owner was killed.
    adapter.__dict__["_SHORT_WAIT"] = 1
    celery, web = make(*(os.environ[name] for name in ("BROKER_URL", "REDIS_URL", "EFFECTS")))
