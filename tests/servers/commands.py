"""Starts a server by a command of its own, in a folder, and sends it deliveries."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from karla_receiver.views.paths import DEFAULT_PATH
from tests.ports import reserved_port
from tests.servers.launching import ROOT
from tests.servers.wire import chunked
from tests.signing import BODY, SECRET, signature_header
from tests.waiting import PATIENCE_SECONDS, until

__all__ = ["Started", "deliver", "started"]


@dataclass(frozen=True)
class Started:
    """A server that answers, or whose process has ended."""

    port: int
    process: subprocess.Popen[bytes]
    output: Path

    @property
    def log(self) -> str:
        """What it has printed so far."""
        return self.output.read_text(errors="replace")

    @property
    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def get(self) -> tuple[int, bytes]:
        """Ask for /, and return the status and the body."""
        return _ask(self.port, "GET", "/")

    def deliver(self, body: bytes = BODY, secret: str = SECRET, *, is_chunked: bool = False) -> int:
        """Same as the function `deliver`, to this server."""
        return deliver(self.port, body, secret, is_chunked=is_chunked)

    def answers(self) -> bool:
        with suppress(OSError):
            return bool(self.get())
        return False


def deliver(
    port: int, body: bytes = BODY, secret: str = SECRET, *, is_chunked: bool = False
) -> int:
    """Send a delivery that is signed now to a server of this machine, and return the status."""
    headers = signature_header(body, secret)
    if is_chunked:
        headers["Transfer-Encoding"] = "chunked"
    sent = chunked(body, 99) if is_chunked else body
    return _ask(port, "POST", DEFAULT_PATH, sent, headers)[0]


def _ask(
    port: int,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, bytes]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)) as connection:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.read()


@contextmanager
def started(folder: Path, command: str, **environ: str) -> Generator[Started]:
    """Run `python COMMAND` in a folder; hand the server out when it answers, or has ended.

    {port} in the command stands for the port. The server may import the tests.
    """
    output = folder / "log"
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    with reserved_port() as port, output.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *shlex.split(command.replace("{port}", str(port)))],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": path} | environ,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        server = Started(port, process, output)
        try:
            until(lambda: server.answers() or server.has_ended, f"{command} answers")
            yield server
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # and what it has started
            process.wait()
