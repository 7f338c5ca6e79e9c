"""Ports of this machine that are a test's own."""

from __future__ import annotations

import socket
from collections.abc import Generator
from contextlib import contextmanager

__all__ = ["reserved_port"]


@contextmanager
def reserved_port() -> Generator[int]:
    """Hand out a port at which nobody listens, unless the test has a server listen there.

    It is bound here all the time, so that no other process is given it meanwhile. Linux lets a
    server that sets SO_REUSEADDR, as servers do, bind it as well.
    """
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]
