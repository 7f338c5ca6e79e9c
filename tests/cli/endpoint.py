"""A real endpoint to deliver to: a receiver on uvicorn that keeps what it was sent."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from karla_receiver.cli.addresses import listening, webhook_url
from karla_receiver.cli.server import serving_asgi
from karla_receiver.cli.watching import Seen, WatchedApp
from tests.signing import SECRET


@contextmanager
def endpoint() -> Generator[tuple[str, list[Seen]]]:
    """Serve a receiver under the tests' secret; hand out its URL and what it has seen."""
    seen: list[Seen] = []
    app = WatchedApp(SECRET, tolerance=300, notify=seen.append)
    with listening("127.0.0.1", 0) as listener, serving_asgi(app, listener):
        yield webhook_url("127.0.0.1", listener.getsockname()[1]), seen
