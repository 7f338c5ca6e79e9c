from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from karla_receiver import Event
from karla_receiver.adapters.starlette import webhook
from tests.adapters.views import STREAM, Behaviour, late, outcome
from tests.asgi_server import knock_at
from tests.doors import PATH, Answer, Knock

ABORT = HTTPException(404)


def own(status: int | None) -> Any:
    if status == STREAM:
        return StreamingResponse(late())
    return None if status is None else PlainTextResponse("own", status)


def shop(behaviour: Behaviour, secrets: tuple[Any, ...], is_async: bool, knock: Knock) -> Answer:
    async def async_view(request: Request, event: Event) -> Any:
        return own(outcome(behaviour, event, await request.body()))

    def view(request: Request, event: Event) -> Any:
        return own(outcome(behaviour, event, knock.body))

    endpoint = webhook(*secrets)(async_view if is_async else view)
    return knock_at(Starlette(routes=[Route(PATH, endpoint)]), knock)
