"""An aiohttp app that receives webhooks from Karla.

Run it:              pip install "karla-receiver[aiohttp]"
                     KARLA_WEBHOOK_SECRET=try-me-try-me-16 python examples/aiohttp_shop.py
Send it a delivery:  python examples/send.py http://127.0.0.1:8080/webhooks/karla
"""

from __future__ import annotations

import logging
import os

from aiohttp import web

from karla_receiver import Event, Phase, Receiver, ShipmentEvent
from karla_receiver.adapters.aiohttp import webhook

logger = logging.getLogger("shop")
routes = web.RouteTableDef()


@routes.post("/webhooks/karla")
@webhook(Receiver.from_env())
async def on_karla_event(request: web.Request, event: Event) -> None:
    """Act on an event; returning nothing acknowledges it."""
    if isinstance(event, ShipmentEvent) and event.phase == Phase.DELIVERED:
        logger.warning("order %s: thank the customer", event.order_number)


@routes.get("/")
async def front_page(request: web.Request) -> web.Response:
    """Serve the shop as ever."""
    return web.Response(text="Tea, and webhooks.\n")


if __name__ == "__main__":
    app = web.Application()
    app.add_routes(routes)
    web.run_app(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8080")))
