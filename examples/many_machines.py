"""A shop on many machines: web processes publish to RabbitMQ, Celery workers handle.

Run it:              pip install "karla-receiver[celery,redis]" uvicorn
                     export KARLA_WEBHOOK_SECRET=try-me-try-me-16
                     cd examples && uvicorn many_machines:web --port 8000     # on each web machine
                     cd examples && celery -A many_machines worker -Q karla   # on each worker
Send it a delivery:  python examples/send.py http://127.0.0.1:8000/webhooks/karla

BROKER_URL and REDIS_URL say where RabbitMQ and Redis are; left out, on this machine.
"""

from __future__ import annotations

import os

from celery import Celery

from karla_receiver import Receiver, ShipmentEvent
from karla_receiver.adapters.asgi import KarlaApp
from karla_receiver.adapters.celery import CeleryInbox
from karla_receiver.adapters.redis import RedisStore

celery = Celery("shop", broker=os.environ.get("BROKER_URL", "amqp://guest:guest@127.0.0.1//"))
once = RedisStore(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"), lease=60)
inbox = CeleryInbox(celery, idempotency=once)
receiver = Receiver.from_env(idempotency=once, inbox=inbox)
web = KarlaApp(receiver)


@receiver.on("shipments/delivered")
def thank_the_customer(event: ShipmentEvent) -> None:
    """Act on an event, in a worker: once, unless a worker dies over it."""
    print(f"order {event.order_number}: thank the customer", flush=True)
