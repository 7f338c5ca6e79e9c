"""A real endpoint to deliver to: a receiver on uvicorn that keeps what it was sent."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeAlias

from karla_receiver.adapters.asgi import ASGIApp, Receive, Scope, Send
from karla_receiver.cli.server import serving_asgi
from karla_receiver.cli.watching import Seen, WatchedApp
from tests.signing import SECRET

__all__ = ["Endpoint", "endpoints"]

# Makes a receiver under the tests' secret; hands out its URL and what it has seen.
Endpoint: TypeAlias = Callable[[], AbstractContextManager[tuple[str, list[Seen]]]]


@contextmanager
def endpoints() -> Generator[Endpoint]:
    """Run one server for any number of receivers, one after another.

    To start and stop it takes longer than most tests.
    """
    current: list[ASGIApp] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await current[-1](scope, receive, send)

    with serving_asgi(app) as url:

        @contextmanager
        def endpoint() -> Generator[tuple[str, list[Seen]]]:
            seen: list[Seen] = []
            current.append(WatchedApp(SECRET, tolerance=300, notify=seen.append))
            yield url, seen
            current.clear()

        yield endpoint
