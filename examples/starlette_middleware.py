"""A Starlette app with the ASGI middleware in front; any other ASGI app goes in the same way.

Run it:              pip install karla-receiver starlette uvicorn
                     KARLA_WEBHOOK_SECRET=try-me-try-me-16 uvicorn --app-dir examples \
                         starlette_middleware:app
Send it a delivery:  python examples/send.py http://127.0.0.1:8000/webhooks/karla
"""

from __future__ import annotations

import logging

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from karla_receiver import ClaimEvent, Receiver, ShipmentEvent
from karla_receiver.adapters.asgi import KarlaMiddleware

logger = logging.getLogger("shop")
receiver = Receiver.from_env()


@receiver.on("shipments/delivered", "shipments/collect")
async def thank_the_customer(event: ShipmentEvent) -> None:
    """Run on the event loop, since it is async."""
    logger.warning("order %s: thank the customer", event.order_number)


@receiver.on("claims")
def look_into_it(event: ClaimEvent) -> None:
    """Run in a thread, since it is not: it may wait for a database."""
    logger.warning("order %s: look into claim %s", event.order_number, event.claim_id)


async def front_page(request: Request) -> PlainTextResponse:
    """Serve the shop as ever."""
    return PlainTextResponse("Tea, and webhooks.\n")


app = Starlette(
    routes=[Route("/", front_page)],
    middleware=[Middleware(KarlaMiddleware, receiver=receiver)],
)
