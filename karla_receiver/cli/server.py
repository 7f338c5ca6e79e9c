"""A real server on this machine, in a thread: uvicorn for ASGI apps, waitress for WSGI apps."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

import uvicorn
from waitress.server import (  # type: ignore[import-untyped]
    create_server,  # pyright: ignore[reportUnknownVariableType]
)

from karla_receiver.adapters.asgi import ASGIApp
from karla_receiver.adapters.wsgi import WSGIApp
from karla_receiver.cli.addresses import listening, webhook_url

__all__ = ["attached", "serving_asgi", "serving_wsgi"]

_THIS_MACHINE = "127.0.0.1"


@contextmanager
def serving_asgi(app: ASGIApp, host: str = _THIS_MACHINE, port: int = 0) -> Generator[str]:
    """Serve an ASGI app, and hand out the webhook's URL; port 0 is any free one.

    When it is left, the server is stopped: no thread and no socket remain.
    Raises ConfigurationError if nothing can listen there.
    """
    server = uvicorn.Server(
        uvicorn.Config(app, lifespan="off", log_config=None, access_log=False, ws="none")
    )

    def stop() -> None:
        server.should_exit = True

    with (
        # Before the server runs: an early request waits in the queue.
        listening(host, port) as listener,
        attached(logging.getLogger("uvicorn"), logging.NullHandler()),
        _running(partial(server.run, [listener]), stop),
    ):
        yield webhook_url(host, listener.getsockname()[1])


@contextmanager
def serving_wsgi(app: WSGIApp) -> Generator[str]:
    """Serve a WSGI app on a free port, as `serving_asgi` serves an ASGI app."""
    channels: dict[int, Any] = {}
    is_over = threading.Event()
    with listening(_THIS_MACHINE, 0) as listener:
        server: Any = create_server(app, map=channels, sockets=[listener])

        def run() -> None:
            while not is_over.is_set():
                server.asyncore.loop(map=channels, count=1)

        def stop() -> None:
            server.task_dispatcher.shutdown()
            is_over.set()
            server.pull_trigger()  # wakes the loop

        try:
            with (
                attached(logging.getLogger("waitress"), logging.NullHandler()),
                _running(run, stop),
            ):
                yield webhook_url(_THIS_MACHINE, listener.getsockname()[1])
        finally:
            # Not before the loop has ended, which waits for them, and could close the trigger
            # that is being pulled.
            for channel in list(channels.values()):
                channel.close()


@contextmanager
def attached(log: logging.Logger, handler: logging.Handler) -> Generator[None]:
    """Give what is logged to handler alone, so that nothing of it gets between a command's rows."""
    propagate = log.propagate
    log.addHandler(handler)
    log.propagate = False
    try:
        yield
    finally:
        log.propagate = propagate
        log.removeHandler(handler)


@contextmanager
def _running(run: Callable[[], object], stop: Callable[[], None]) -> Generator[None]:
    thread = threading.Thread(target=run, name="server", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop()
        thread.join()
