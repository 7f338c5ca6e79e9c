from __future__ import annotations

from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import PlainTextResponse, StreamingResponse

from karla_receiver.adapters.fastapi import KarlaEvent, KarlaRouter
from tests.adapters.views import STREAM, Behaviour, late, outcome
from tests.asgi_server import knock_at
from tests.doors import PATH, Answer, Knock

ABORT = HTTPException(404)


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
