"""Serves one request to an ASGI app as a server does.

It waits for the answer, tells the app when it has all of it, and is deaf once the client is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from tests.doors import Answer, Knock, answer_of, asgi_scope, logged_reasons
from tests.server_loop import run_on_server


def serve(app: Any, scope: dict[str, Any], messages: Iterator[Any]) -> list[Any]:
    """Run app for one request and return what the client gets of what the app sent."""
    received: list[Any] = []
    is_answered = asyncio.Event()
    is_gone = False

    async def receive() -> Any:
        nonlocal is_gone
        await asyncio.sleep(0)  # where a server would wait for the network
        message: Any = {} if is_answered.is_set() else next(messages, {})
        if not message:
            await is_answered.wait()
            message = {"type": "http.disconnect"}
        is_gone = message["type"] == "http.disconnect"
        return message

    async def send(message: Any) -> None:
        if not is_gone:
            received.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            is_answered.set()

    async def run() -> None:
        await app(scope, receive, send)

    run_on_server(run())
    return received


def knock_at(app: Any, knock: Knock) -> Answer:
    """Send one request to app."""
    scope = {**asgi_scope(knock), "server": ("testserver", 80)}
    whole = {"type": "http.request", "body": knock.body, "more_body": False}
    with logged_reasons() as reasons:
        sent = serve(app, scope, knock.messages or iter([whole]))
    if not sent:
        return answer_of(reasons)
    start, *rest = sent
    headers = [
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"]
    ]
    body = b"".join(message.get("body", b"") for message in rest)
    return answer_of(reasons, start["status"], headers, body)
