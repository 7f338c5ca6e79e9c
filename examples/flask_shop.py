"""A Flask shop that receives webhooks from Karla.

Run it:              pip install "karla-receiver[flask]"
                     KARLA_WEBHOOK_SECRET=try-me-try-me-16 flask --app examples/flask_shop.py run
Send it a delivery:  python examples/send.py http://127.0.0.1:5000/webhooks/karla
"""

from __future__ import annotations

import os

from flask import Flask

from karla_receiver import ClaimEvent, Event, Phase, ShipmentEvent
from karla_receiver.adapters.flask import webhook

app = Flask(__name__)


@app.get("/")
def front_page() -> str:
    """Serve the shop as ever."""
    return "Tea, and webhooks.\n"


@app.post("/webhooks/karla")
@webhook(os.environ["KARLA_WEBHOOK_SECRET"])
def on_karla_event(event: Event) -> None:
    """Act on an event; returning nothing acknowledges it."""
    if isinstance(event, ShipmentEvent) and event.phase == Phase.DELIVERED:
        app.logger.warning("order %s: thank the customer", event.order_number)
    elif isinstance(event, ClaimEvent):
        app.logger.warning("order %s: look into claim %s", event.order_number, event.claim_id)
