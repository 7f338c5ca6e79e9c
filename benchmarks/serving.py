"""Through real servers: CPU beside a bare app that reads the body.

The two servers take turns, round by round, and the client keeps its connections open.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from benchmarks.deliveries import BODY, SECRET
from benchmarks.tables import Row, Table, at_most
from karla_receiver import sign

__all__ = ["serving"]

_CONNECTIONS = 8
_BATCHES = 20  # of one request on each connection, a round
_DEADLINE_SECONDS = 30

_UVICORN = ("uvicorn", "--no-access-log", "--log-level", "warning", "--port", "{port}")
_GUNICORN = (
    "gunicorn", "--worker-class", "gthread", "--threads", "4", "--keep-alive", "60",
    "--log-level", "warning", "--no-control-socket", "--bind", "127.0.0.1:{port}",
)  # fmt: skip


class _Client:
    """A few connections to one server, used in turn so that the server never waits."""

    def __init__(self, port: int, stack: ExitStack) -> None:
        self._sockets: list[socket.socket] = []
        for _ in range(_CONNECTIONS):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            connection.settimeout(_DEADLINE_SECONDS)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets.append(connection)
        self._length = 0

    def cpu_seconds(self) -> float:
        """Ask the server for its CPU time."""
        connection = self._sockets[0]
        connection.sendall(b"GET /cpu HTTP/1.1\r\nHost: x\r\n\r\n")
        return int(_response(connection).partition(b"\r\n\r\n")[2]) / 1e9

    def round(self, message: bytes) -> float:
        """Send a round of requests; return the server's CPU seconds for each."""
        if not self._length:
            for connection in self._sockets:
                connection.sendall(message)  # a thread of gunicorn waits for each one's first
            answers = [_response(connection) for connection in self._sockets]
            if not answers[0].startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"the server answered {answers[0][:200]!r}")
            self._length = len(answers[0])
        before = self.cpu_seconds()
        for _ in range(_BATCHES):
            for connection in self._sockets:
                connection.sendall(message)
            for connection in self._sockets:
                _skip(connection, self._length)
        return (self.cpu_seconds() - before) / (_BATCHES * _CONNECTIONS)


def _response(connection: socket.socket) -> bytes:
    received = b""
    while True:
        received += _received(connection, 65_536)
        head, blank, body = received.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        if blank and len(body) >= int(length):
            return received


def _skip(connection: socket.socket, length: int) -> None:
    while length:
        length -= len(_received(connection, length))


def _received(connection: socket.socket, size: int) -> bytes:
    chunk = connection.recv(size)
    if not chunk:
        raise RuntimeError("the server closed a connection")
    return chunk


@contextmanager
def _server(command: tuple[str, ...], app: str) -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    arguments = [part.format(port=port) for part in command]
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments, f"benchmarks.served_apps:{app}"],
    )
    try:
        _wait(port, process)
        yield port
    finally:
        process.terminate()
        process.wait(_DEADLINE_SECONDS)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError("the server ended: is the dependency group `servers` installed?")
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("the server did not start")


def _measure(command: tuple[str, ...], apps: Sequence[str], rounds: int) -> list[list[float]]:
    """Return CPU seconds of a request to each app in each round, the servers taking turns."""
    with ExitStack() as stack:
        clients = [_Client(stack.enter_context(_server(command, app)), stack) for app in apps]
        taken: list[list[float]] = []
        for _ in range(rounds + 1):
            message = _message()  # made anew, for the window must not close
            taken.append([client.round(message) for client in clients])
    return [list(each) for each in zip(*taken[1:], strict=True)]  # the first one fills caches


def _message() -> bytes:
    lines = [
        "POST /webhooks/karla HTTP/1.1",
        "Host: shop.example",
        "User-Agent: karla",
        "Accept: */*",
        "Content-Type: application/json",
        f"Karla-Signature: {sign(BODY, SECRET)}",
        f"Content-Length: {len(BODY)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + BODY


def serving(rounds: int) -> Table:
    """Compare servers with a receiver and servers with a bare app."""
    rows: list[Row] = []
    for name, command in (("ASGI", _UVICORN), ("Flask", _GUNICORN), ("WSGI", _GUNICORN)):
        apps = [f"{name.lower()}_{kind}" for kind in ("bare", "receiving")]
        bare, ours = _measure(command, apps, max(8, rounds // 25))
        rows.append(at_most(None, f"{name}, {command[0]}", ours, bare))
    title = "CPU of a request to one worker, 2 KB, beside a bare app that reads the body"
    return Table("serving", title, tuple(rows))
