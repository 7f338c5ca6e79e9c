"""The servers: how each is started, and stopped for good."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from karla_receiver import sign
from tests.servers.journal import VARIABLE, Journal
from tests.servers.live import ALIVE, CLOCKED, OLD
from tests.servers.wire import Answer, exchange, head, parse
from tests.signing import BODY
from tests.waiting import PATIENCE_SECONDS, until

ROOT = Path(__file__).parents[2]
SECONDS = PATIENCE_SECONDS


@dataclass(frozen=True)
class Kind:
    """A server, as its users start it. {port} stands for the port, on this machine only.

    modules: what must be installed.
    at_once: how many connections its one process looks at at the same time; 0: as many as come.
    """

    name: str
    modules: tuple[str, ...]
    command: str
    at_once: int = 0

    @property
    def is_asgi(self) -> bool:
        return "asgi_app" in self.command


_APPS = "tests.servers.apps"
_UVICORN = f"uvicorn {_APPS}:asgi_app --port {{port}} --no-access-log --http"
_GRANIAN = "granian --host 127.0.0.1 --port {port} --interface"
_GUNICORN = f"gunicorn {_APPS}:wsgi_app --bind 127.0.0.1:{{port}} --no-control-socket"

KINDS = [
    Kind("uvicorn-h11", ("uvicorn", "h11"), f"{_UVICORN} h11"),
    Kind("uvicorn-httptools", ("uvicorn", "httptools"), f"{_UVICORN} httptools"),
    Kind("hypercorn", ("hypercorn",), f"hypercorn {_APPS}:asgi_app --bind 127.0.0.1:{{port}}"),
    Kind("granian-asgi", ("granian",), f"{_GRANIAN} asgi {_APPS}:asgi_app"),
    # Or it starts up to 512 threads, each for 30 s, and warns that this is too many.
    Kind("granian-wsgi", ("granian",), f"{_GRANIAN} wsgi --blocking-threads 4 {_APPS}:wsgi_app"),
    Kind("gunicorn-sync", ("gunicorn",), f"{_GUNICORN} --worker-class sync", at_once=1),
    Kind("gunicorn-gthread", ("gunicorn",), f"{_GUNICORN} --threads 4", at_once=4),
    # Takes in whole bodies before it calls an app, and is told how long one may be: not so long.
    Kind(
        "waitress",
        ("waitress",),
        f"waitress --listen 127.0.0.1:{{port}} --max-request-body-size 1048577 {_APPS}:wsgi_app",
        at_once=98,  # its connection_limit is 100, and it counts two of its own
    ),
    Kind("werkzeug", ("flask",), f"flask --app {_APPS}:flask_app run --port {{port}}"),
]
PRELOADED = [
    Kind(
        f"gunicorn-{worker} --preload",
        ("gunicorn",),
        f"{_GUNICORN} --preload --workers 4 --worker-class {worker}",
    )
    for worker in ("sync", "gthread")
]


@dataclass(frozen=True)
class Server:
    """One that runs. process: what was started; started: how what serves was doing then."""

    kind: Kind
    port: int
    journal: Journal
    process: subprocess.Popen[bytes]
    log: Path
    started: dict[str, int]

    def control(self, what: str) -> dict[str, int]:
        """Ask /control/WHAT, and return how the process that answered is doing."""
        return _control(self.port, what)

    def deliver(self, name: str = ALIVE, body: bytes = BODY, secret: str = OLD) -> Answer:
        """Send a genuine delivery, signed now."""
        (answer,) = exchange(self.port, [delivery(name, body, secret)])
        return answer


def delivery(
    name: str, body: bytes = BODY, secret: str = OLD, *, at: int | None = None, close: bool = True
) -> bytes:
    """Return a genuine delivery. at: when it is signed, in unix seconds; None is now."""
    signature = sign(body, secret, timestamp=at)
    headers = [
        ("Host", "localhost"),
        ("Karla-Signature", signature),
        ("Content-Length", str(len(body))),
    ]
    return head(name, [*headers, ("Connection", "close")] if close else headers) + body


def skip_unless_installed(kind: Kind) -> None:
    missing = [module for module in kind.modules if find_spec(module) is None]
    if missing:
        pytest.skip(f"{kind.name} needs {', '.join(missing)}: pip install --group servers")


@contextmanager
def running(kind: Kind, folder: Path) -> Generator[Server]:
    """Start a server and hand it out when it answers; stop it, and all that it started.

    Skips the test if the server is not installed, which fails the run in CI.
    """
    skip_unless_installed(kind)
    journal = Journal(folder / "journal")
    (folder / CLOCKED).write_text("0")
    log = folder / "log"
    # Kept, but never listened on: the port stays ours until the server has it.
    with socket.socket() as reserved, log.open("wb") as output:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-m", *kind.command.format(port=port).split()],
            cwd=ROOT,
            env=os.environ | {VARIABLE: str(journal.path)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            until(lambda: _answers(port) or process.poll() is not None, f"{kind.name} answers")
            assert process.poll() is None, log.read_text()
            yield Server(kind, port, journal, process, log, _control(port, "state"))
        finally:
            _stop(process)
            journal.close()


def _control(port: int, what: str) -> dict[str, int]:
    request = f"GET /control/{what} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    (answer,) = exchange(port, [request.encode()], "GET")
    assert answer.status == 200, answer
    told: dict[str, int] = json.loads(answer.body)
    return told


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return bool(parse(connection.recv(1 << 16), "GET"))
    except OSError:
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(SECONDS)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what it left behind
        process.wait()
