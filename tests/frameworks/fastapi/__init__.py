"""FastAPI: a path function of one's own, and a receiver's own router."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import PlainTextResponse, StreamingResponse

from karla_receiver import Receiver
from karla_receiver.adapters.fastapi import KarlaEvent, KarlaRouter, webhook_router
from tests.asgi_server import knock_at
from tests.doors import PATH, Answer, Knock
from tests.frameworks.contract import (
    STREAM,
    Behaviour,
    Example,
    Framework,
    ask_asgi,
    late,
    outcome,
)


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


def own(status: int | None) -> Any:
    if status == STREAM:
        return StreamingResponse(late())
    return None if status is None else PlainTextResponse("own", status)


def shop(behaviour: Behaviour, secrets: tuple[Any, ...], is_async: bool, knock: Knock) -> Answer:
    router = KarlaRouter(*secrets)
    if is_async:

        @router.post(PATH)
        async def async_view(event: KarlaEvent, request: Request) -> Any:
            return own(outcome(behaviour, event, await request.body()))
    else:

        @router.post(PATH)
        def view(event: KarlaEvent) -> Any:
            return own(outcome(behaviour, event, knock.body))

    app = FastAPI()
    app.include_router(router)
    return knock_at(app, knock)


FRAMEWORK = Framework(
    imports=frozenset({"fastapi", "starlette"}),
    doors={"fastapi": through_fastapi, "fastapi router": through_fastapi_router},
    shop=shop,
    joins_messages=("fastapi", "fastapi router"),
    has_webhook=False,
    abort=HTTPException(404),
    ask=ask_asgi,
    serves=("uvicorn shop:app", 8000),
    examples={"fastapi_shop": Example("-m uvicorn fastapi_shop:app --port 0")},
)
