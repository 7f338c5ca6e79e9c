"""FastAPI: a path function of one's own, and a receiver's own router."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import PlainTextResponse, StreamingResponse

from karla_receiver import Receiver
from karla_receiver.adapters.asgi import KarlaMiddleware
from karla_receiver.adapters.fastapi import KarlaEvent, KarlaRouter, endpoint
from tests.asgi_server import knock_at
from tests.doors import PATH, Answer, Door, Knock
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


def including(path: str, prefix: str = "", **options: Any) -> Door:
    """Return a door through a receiver's own router, included in an app."""

    def door(receiver: Receiver, knock: Knock) -> Answer:
        app = FastAPI(**options)
        app.include_router(endpoint(receiver, path), prefix=prefix)
        return knock_at(app, knock)

    return door


through_fastapi_endpoint = including(PATH)


def through_fastapi_middleware(receiver: Receiver, knock: Knock) -> Answer:
    app = FastAPI()
    app.add_middleware(KarlaMiddleware, receiver=receiver)
    return knock_at(app, knock)


assert PATH == "/webhooks/karla"
ENDPOINTS: dict[str, Door] = {
    "fastapi": through_fastapi_endpoint,
    "fastapi {shop}": including("/webhooks/{shop}"),
    "fastapi prefix": including("/karla", "/webhooks"),
    "fastapi middleware": through_fastapi_middleware,
}


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
    doors={"fastapi": through_fastapi, "fastapi endpoint": through_fastapi_endpoint},
    shop=shop,
    joins_messages=("fastapi", "fastapi endpoint"),
    has_webhook=False,
    runs_streams=True,
    abort=HTTPException(404),
    ask=ask_asgi,
    serves=("uvicorn shop:app", 8000),
    examples={"fastapi_shop": Example("-m uvicorn fastapi_shop:app --port 0")},
)
