"""Serves a WSGI app at a real address."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

__all__ = ["serving"]


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serving(app: Any) -> Generator[str]:
    """Serve an app while the context lasts; yield its URL, without a path."""
    with make_server("127.0.0.1", 0, app, handler_class=_QuietHandler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
