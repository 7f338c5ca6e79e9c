"""A Starlette app with an endpoint that receives webhooks from Karla.

Run it:              pip install "karla-receiver[starlette]" uvicorn
                     KARLA_WEBHOOK_SECRET=try-me-try-me-16 uvicorn --app-dir examples \
                         starlette_shop:app
Send it a delivery:  python examples/send.py http://127.0.0.1:8000/webhooks/karla
"""

from __future__ import annotations

import logging

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from karla_receiver import Event, Phase, Receiver, ShipmentEvent
from karla_receiver.adapters.starlette import webhook

logger = logging.getLogger("shop")


@webhook(Receiver.from_env())
async def on_karla_event(request: Request, event: Event) -> None:
    """Act on an event; returning nothing acknowledges it."""
    if isinstance(event, ShipmentEvent) and event.phase == Phase.DELIVERED:
        logger.warning("order %s: thank the customer", event.order_number)


async def front_page(request: Request) -> PlainTextResponse:
    """Serve the shop as ever."""
    return PlainTextResponse("Tea, and webhooks.\n")


app = Starlette(routes=[Route("/", front_page), Route("/webhooks/karla", on_karla_event)])
