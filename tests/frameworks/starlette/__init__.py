"""Starlette: one endpoint."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from karla_receiver import Event, Receiver
from karla_receiver.adapters.starlette import webhook
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


async def nothing(request: Request, event: Event) -> None:
    """Leave it to the receiver's handlers."""


def through_starlette(receiver: Receiver, knock: Knock) -> Answer:
    return knock_at(Starlette(routes=[Route(PATH, webhook(receiver)(nothing))]), knock)


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


FRAMEWORK = Framework(
    imports=frozenset({"starlette"}),
    doors={"starlette": through_starlette},
    shop=shop,
    joins_messages=("starlette",),
    abort=HTTPException(404),
    ask=ask_asgi,
    serves=("uvicorn shop:app", 8000),
    examples={
        "starlette_middleware": Example("-m uvicorn starlette_middleware:app --port 0"),
        "starlette_shop": Example("-m uvicorn starlette_shop:app --port 0"),
    },
)
