"""Code as a user of aiohttp writes it, for type checkers only: nothing here is run."""

from __future__ import annotations

from aiohttp import web

from karla_receiver import Event, Receiver
from karla_receiver.adapters import aiohttp

receiver = Receiver("secret")
routes = web.RouteTableDef()


@routes.post("/karla")
@aiohttp.webhook("secret")
async def aiohttp_view(request: web.Request, event: Event) -> web.Response:
    return web.Response(status=202)


aiohttp_app = web.Application()
aiohttp_app.router.add_post("/all", aiohttp.endpoint(receiver))
