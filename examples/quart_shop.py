"""A Quart app that receives webhooks from Karla.

Run it:              pip install "karla-receiver[quart]" uvicorn
                     KARLA_WEBHOOK_SECRET=try-me-try-me-16 uvicorn --app-dir examples \
                         quart_shop:app
Send it a delivery:  python examples/send.py http://127.0.0.1:8000/webhooks/karla
"""

from __future__ import annotations

from quart import Quart

from karla_receiver import Event, Phase, Receiver, ShipmentEvent
from karla_receiver.adapters.quart import webhook

app = Quart(__name__)


@app.get("/")
async def front_page() -> str:
    """Serve the shop as ever."""
    return "Tea, and webhooks.\n"


@app.post("/webhooks/karla")
@webhook(Receiver.from_env())
async def on_karla_event(event: Event) -> None:
    """Act on an event; returning nothing acknowledges it."""
    if isinstance(event, ShipmentEvent) and event.phase == Phase.DELIVERED:
        app.logger.warning("order %s: thank the customer", event.order_number)
