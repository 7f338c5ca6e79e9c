"""A FastAPI app that receives webhooks from Karla, and shows them at /docs.

Run it:              pip install "karla-receiver[fastapi]" uvicorn
                     KARLA_WEBHOOK_SECRET=try-me-try-me-16 uvicorn --app-dir examples \
                         fastapi_shop:app
Send it a delivery:  python examples/send.py http://127.0.0.1:8000/webhooks/karla
"""

from __future__ import annotations

import logging

from fastapi import FastAPI

from karla_receiver import ClaimEvent, Phase, Receiver, ShipmentEvent
from karla_receiver.adapters.fastapi import KarlaEvent, KarlaRouter

logger = logging.getLogger("shop")
router = KarlaRouter(Receiver.from_env(), tags=["karla"])


@router.post("/webhooks/karla")
async def on_karla_event(event: KarlaEvent) -> None:
    """Act on an event; returning nothing acknowledges it."""
    if isinstance(event, ShipmentEvent) and event.phase == Phase.DELIVERED:
        logger.warning("order %s: thank the customer", event.order_number)
    elif isinstance(event, ClaimEvent):
        logger.warning("order %s: look into claim %s", event.order_number, event.claim_id)


app = FastAPI(title="A tea shop")
app.include_router(router)


@app.get("/")
def front_page() -> str:
    """Serve the shop as ever."""
    return "Tea, and webhooks.\n"
