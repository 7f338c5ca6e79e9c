from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from karla_receiver import Event
from karla_receiver.adapters.aiohttp import webhook
from tests.adapters.views import STREAM, Behaviour, late, outcome
from tests.doors import Answer, Knock, answer_of, logged_reasons
from tests.doors_aiohttp import made_request

ABORT = web.HTTPNotFound()


def own(status: int | None) -> Any:
    if status == STREAM:
        return web.Response(body=late())
    return None if status is None else web.Response(text="own", status=status)


def shop(behaviour: Behaviour, secrets: tuple[Any, ...], is_async: bool, knock: Knock) -> Answer:
    async def async_view(request: web.Request, event: Event) -> Any:
        return own(outcome(behaviour, event, await request.read()))

    def view(request: web.Request, event: Event) -> Any:
        return own(outcome(behaviour, event, knock.body))

    handler = webhook(*secrets)(async_view if is_async else view)

    async def answer() -> Any:
        try:
            return await handler(made_request(knock))
        except web.HTTPException as raised:
            return raised  # as aiohttp's server takes it

    with logged_reasons() as reasons:
        response = asyncio.run(answer())
    return answer_of(reasons, response.status, list(response.headers.items()), response.body)
