"""Real servers over a gated inbox, and what is sent to them."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.faults.endpoints import FOLDER, WORKERS
from tests.signing import signature_header
from tests.waiting import PATIENCE_SECONDS

ROOT = Path(__file__).parents[2]
IN_FLIGHT = 100

SERVERS = {
    "uvicorn": "uvicorn --factory tests.faults.endpoints:make_asgi --fd {fd} --log-level warning",
    "gunicorn": (
        f"gunicorn tests.faults.endpoints:make_wsgi() --bind fd://{{fd}} --threads {IN_FLIGHT}"
        " --log-level warning --no-control-socket"
    ),
}


@contextmanager
def serving(
    name: str, folder: Path, *, workers: int, under: tuple[str, ...] = ()
) -> Generator[tuple[subprocess.Popen[bytes], int]]:
    """Run a server; return it and its port. under: a command that runs it."""
    with socket.create_server(("127.0.0.1", 0), backlog=2 * IN_FLIGHT) as listener:
        port: int = listener.getsockname()[1]
        command = SERVERS[name].format(fd=listener.fileno()).split()
        process = subprocess.Popen(
            [*under, sys.executable, "-m", *command],
            pass_fds=[listener.fileno()],
            cwd=ROOT,
            env={**os.environ, FOLDER: str(folder), WORKERS: str(workers)},
            start_new_session=True,
        )
    try:
        yield process, port
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def body_of(number: int) -> bytes:
    return b'{"event_group":"parcel","n":%d}' % number


def deliver(port: int, number: int) -> int | None:
    """Return the answer's status; None if none came."""
    body = body_of(number)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    try:
        connection.request("POST", "/", body, signature_header(body))
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
