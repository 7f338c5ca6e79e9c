"""Code as a user of FastAPI writes it, for type checkers only: nothing here is run."""

from __future__ import annotations

from typing import assert_type

from fastapi import FastAPI

from karla_receiver import Event, Receiver, ShipmentEvent
from karla_receiver.adapters import fastapi

receiver = Receiver("secret")
router = fastapi.KarlaRouter("secret", tags=["karla"])


@router.post("/karla")
async def path_function(event: fastapi.KarlaEvent) -> None:
    assert_type(event, Event)
    if isinstance(event, ShipmentEvent):
        assert_type(event.shipment_id, str)


fastapi_app = FastAPI()
fastapi_app.include_router(router)
fastapi_app.include_router(fastapi.endpoint(receiver, path="/hooks"))
