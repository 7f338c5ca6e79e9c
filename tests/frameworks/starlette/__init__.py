"""Starlette: one endpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route

from karla_receiver import Event, Receiver
from karla_receiver.adapters.asgi import KarlaApp, KarlaMiddleware
from karla_receiver.adapters.starlette import endpoint, webhook
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


async def nothing(request: Request, event: Event) -> None:
    """Leave it to the receiver's handlers."""


def through_starlette(receiver: Receiver, knock: Knock) -> Answer:
    return knock_at(Starlette(routes=[Route(PATH, webhook(receiver)(nothing))]), knock)


def routed(route: Callable[[Receiver], BaseRoute]) -> Door:
    """Return a door through an app with one route."""
    return lambda receiver, knock: knock_at(Starlette(routes=[route(receiver)]), knock)


def through_starlette_middleware(receiver: Receiver, knock: Knock) -> Answer:
    return knock_at(Starlette(middleware=[Middleware(KarlaMiddleware, receiver=receiver)]), knock)


through_starlette_endpoint = routed(lambda receiver: Route(PATH, endpoint(receiver)))

assert PATH == "/webhooks/karla"
ENDPOINTS: dict[str, Door] = {
    "starlette": through_starlette_endpoint,
    "starlette {shop}": routed(lambda receiver: Route("/webhooks/{shop}", endpoint(receiver))),
    "starlette mount": routed(lambda receiver: Mount("/webhooks", endpoint(receiver))),
    "starlette app": routed(lambda receiver: Route(PATH, KarlaApp(receiver))),
    "starlette middleware": through_starlette_middleware,
}


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
    doors={"starlette": through_starlette, "starlette endpoint": through_starlette_endpoint},
    shop=shop,
    joins_messages=("starlette", "starlette endpoint"),
    abort=HTTPException(404),
    ask=ask_asgi,
    serves=("uvicorn shop:app", 8000),
    examples={
        "starlette_middleware": Example("-m uvicorn starlette_middleware:app --port 0"),
        "starlette_shop": Example("-m uvicorn starlette_shop:app --port 0"),
    },
)
