"""A real server for the demo, in a thread: uvicorn for ASGI, waitress for WSGI and Flask."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from enum import StrEnum, unique
from functools import partial
from typing import Any

import uvicorn
from waitress.server import (  # type: ignore[import-untyped]
    create_server,  # pyright: ignore[reportUnknownVariableType]
)

from karla_receiver.adapters import asgi, wsgi
from karla_receiver.cli.shop import Shop, attached
from karla_receiver.views.paths import DEFAULT_PATH

__all__ = ["Adapter", "serving", "serving_asgi"]


@unique
class Adapter(StrEnum):
    """How the demo's receiver is served."""

    ASGI = "asgi"
    WSGI = "wsgi"
    FLASK = "flask"


@contextmanager
def serving(adapter: Adapter, shop: Shop) -> Generator[str]:
    """Serve a shop's receiver on a free port of this machine, and hand out the webhook's URL.

    When it is left, the server is stopped: no thread and no socket remain.
    Raises ModuleNotFoundError if adapter needs a framework that is not installed.
    """
    # The protocol is named, or asyncio does not know that it may switch off Nagle's algorithm,
    # which costs 40 ms an answer.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()  # before the server runs: an early request waits in the queue
        port = listener.getsockname()[1]
        with _SERVERS[adapter](shop, listener):
            yield f"http://127.0.0.1:{port}{DEFAULT_PATH}"


def _serving_shop(shop: Shop, listener: socket.socket) -> AbstractContextManager[None]:
    shop.receiver.on("*")(shop.take_rest)
    return serving_asgi(asgi.KarlaApp(shop.receiver), listener)


@contextmanager
def serving_asgi(app: asgi.ASGIApp, listener: socket.socket) -> Generator[None]:
    """Serve an ASGI app on a socket that listens; the caller closes it."""
    server = uvicorn.Server(
        uvicorn.Config(app, lifespan="off", log_config=None, access_log=False, ws="none")
    )

    def stop() -> None:
        server.should_exit = True

    with (
        attached(logging.getLogger("uvicorn"), logging.NullHandler()),
        _running(partial(server.run, [listener]), stop),
    ):
        yield


@contextmanager
def _serving_wsgi(shop: Shop, listener: socket.socket) -> Generator[None]:
    shop.receiver.on("*")(shop.take_rest)
    with _waitress(wsgi.KarlaApp(shop.receiver), listener):
        yield


@contextmanager
def _serving_flask(shop: Shop, listener: socket.socket) -> Generator[None]:
    # Here, because Flask is an extra of its own.
    from flask import Flask

    from karla_receiver.adapters.flask import webhook

    app = Flask(__name__)
    # With GET, so that it is the receiver who refuses one, and says so in its log.
    app.route(DEFAULT_PATH, methods=["GET", "POST"])(webhook(shop.receiver)(shop.take_rest))
    with _waitress(app, listener):
        yield


_SERVERS: dict[Adapter, Callable[[Shop, socket.socket], AbstractContextManager[None]]] = {
    Adapter.ASGI: _serving_shop,
    Adapter.WSGI: _serving_wsgi,
    Adapter.FLASK: _serving_flask,
}


@contextmanager
def _waitress(app: wsgi.WSGIApp, listener: socket.socket) -> Generator[None]:
    channels: dict[int, Any] = {}
    server: Any = create_server(app, map=channels, sockets=[listener])

    def close_all() -> None:
        for channel in list(channels.values()):
            channel.close()

    def stop() -> None:
        server.task_dispatcher.shutdown()
        # The loop's own thread closes what it waits for: its select() would fail otherwise.
        server.trigger.pull_trigger(close_all)

    with (
        attached(logging.getLogger("waitress"), logging.NullHandler()),
        _running(server.run, stop),
    ):
        yield


@contextmanager
def _running(run: Callable[[], object], stop: Callable[[], None]) -> Generator[None]:
    thread = threading.Thread(target=run, name="server", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop()
        thread.join()
