"""Code as a user of Starlette writes it, for type checkers only: nothing here is run."""

from __future__ import annotations

from typing import assert_type

from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from karla_receiver import Event, Receiver
from karla_receiver.adapters import starlette

receiver = Receiver("secret")


@starlette.webhook(receiver)
async def starlette_view(request: StarletteRequest, event: Event) -> None:
    """Acknowledge."""


@starlette.webhook("new", b"old")
def starlette_view_of_its_own_answer(request: StarletteRequest, event: Event) -> PlainTextResponse:
    return PlainTextResponse("later", 202)


assert_type(starlette_view, starlette.StarletteView)
starlette_app = Starlette(
    routes=[Route("/karla", starlette_view), Route("/all", starlette.endpoint(receiver))]
)
