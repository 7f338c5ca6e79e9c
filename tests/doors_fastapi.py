"""The doors of FastAPI: a path function of one's own, and a receiver's own router."""

from __future__ import annotations

from fastapi import FastAPI

from karla_receiver import Receiver
from karla_receiver.adapters.fastapi import KarlaEvent, KarlaRouter, webhook_router
from tests.asgi_server import knock_at
from tests.doors import PATH, Answer, Door, Knock


def through_fastapi(receiver: Receiver, knock: Knock) -> Answer:
    router = KarlaRouter(receiver)

    @router.post(PATH)
    async def nothing(event: KarlaEvent) -> None:
        """Leave it to the receiver's handlers."""

    app = FastAPI()
    app.include_router(router)
    return knock_at(app, knock)


def through_fastapi_router(receiver: Receiver, knock: Knock) -> Answer:
    app = FastAPI()
    app.include_router(webhook_router(receiver, PATH))
    return knock_at(app, knock)


DOORS: dict[str, Door] = {"fastapi": through_fastapi, "fastapi router": through_fastapi_router}
