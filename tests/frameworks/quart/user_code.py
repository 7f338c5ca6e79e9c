"""Code as a user of Quart writes it, for type checkers only: nothing here is run."""

from __future__ import annotations

from quart import Quart

from karla_receiver import Event
from karla_receiver.adapters import quart

quart_app = Quart(__name__)


@quart_app.post("/<shop>/karla")
@quart.webhook("secret")
async def quart_view(event: Event, shop: str) -> tuple[str, int]:
    return shop, 202
