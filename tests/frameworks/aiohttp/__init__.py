"""aiohttp: the handler, with a request as its server would make it."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import ClientSession, StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request

from karla_receiver import Event, Receiver
from karla_receiver.adapters.aiohttp import endpoint, webhook
from tests.doors import PATH, Answer, Door, Knock, answer_of, logged_reasons
from tests.frameworks.contract import (
    STREAM,
    Behaviour,
    Example,
    Framework,
    late,
    outcome,
)
from tests.server_loop import run_on_server


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
        response = run_on_server(answer())
    return answer_of(reasons, response.status, list(response.headers.items()), response.body)


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
        response = run_on_server(answer())
    return answer_of(reasons, response.status, list(response.headers.items()), response.body)


def ask(names: dict[str, Any], knocks: list[Knock]) -> list[int | None]:
    async def post(session: ClientSession, url: str, knock: Knock) -> int:
        async with session.post(url, data=knock.body, headers=dict(knock.headers)) as answer:
            return answer.status

    async def ask_all() -> list[int | None]:
        runner = web.AppRunner(names["app"])
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}{PATH}"
        try:
            async with ClientSession() as session:
                return [await post(session, url, knock) for knock in knocks]
        finally:
            await runner.cleanup()

    return run_on_server(ask_all())


def routed(path: str) -> Door:
    """Return a door through a server whose only handler is a receiver's endpoint, at the path."""

    def door(receiver: Receiver, knock: Knock) -> Answer:
        app = web.Application()
        app.router.add_post(path, endpoint(receiver))
        with logged_reasons() as reasons:
            (status,) = ask({"app": app}, [knock])
        return answer_of(reasons, status)

    return door


assert PATH == "/webhooks/karla"
ENDPOINTS: dict[str, Door] = {"aiohttp": routed(PATH), "aiohttp {shop}": routed("/webhooks/{shop}")}


FRAMEWORK = Framework(
    imports=frozenset({"aiohttp"}),
    doors={"aiohttp": through_aiohttp},
    shop=shop,
    abort=web.HTTPNotFound(),
    ask=ask,
    serves=("python shop.py", 8000),
    examples={"aiohttp_shop": Example("aiohttp_shop.py")},
)
