"""The door of Starlette."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from karla_receiver import Event, Receiver
from karla_receiver.adapters.starlette import webhook
from tests.asgi_server import knock_at
from tests.doors import PATH, Answer, Door, Knock


async def nothing(request: Request, event: Event) -> None:
    """Leave it to the receiver's handlers."""


def through_starlette(receiver: Receiver, knock: Knock) -> Answer:
    return knock_at(Starlette(routes=[Route(PATH, webhook(receiver)(nothing))]), knock)


DOORS: dict[str, Door] = {"starlette": through_starlette}
