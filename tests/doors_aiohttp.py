"""The door of aiohttp: the handler, with a request as its server would make it."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request

from karla_receiver import Event, Receiver
from karla_receiver.adapters.aiohttp import webhook
from tests.doors import PATH, Answer, Door, Knock, answer_of, logged_reasons


async def nothing(request: web.Request, event: Event) -> None:
    """Leave it to the receiver's handlers."""


def made_request(knock: Knock) -> web.Request:
    """Make a request, on a running event loop."""
    loop = asyncio.get_running_loop()
    payload = StreamReader(BaseProtocol(loop), 1 << 24, loop=loop)  # never to pause
    payload.feed_data(knock.body)
    payload.feed_eof()
    return make_mocked_request(
        knock.method, PATH + "?" + knock.query, knock.headers, payload=payload
    )


def through_aiohttp(receiver: Receiver, knock: Knock) -> Answer:
    async def answer() -> Any:
        return await webhook(receiver)(nothing)(made_request(knock))

    with logged_reasons() as reasons:
        response = asyncio.run(answer())
    return answer_of(reasons, response.status, list(response.headers.items()), response.body)


DOORS: dict[str, Door] = {"aiohttp": through_aiohttp}
