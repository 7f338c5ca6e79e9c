"""Web processes and workers of a shop, started, killed and stopped by the tests."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from kombu import Connection, Queue

from karla_receiver import samples
from tests.signing import signature_header
from tests.waiting import PATIENCE_SECONDS, until

ROOT = Path(__file__).parents[2]


class Machines:
    """Web processes that share a socket, and workers; each can be killed and started anew."""

    def __init__(self, module: str, folder: Path, environment: dict[str, str]) -> None:
        self._module = module
        self._folder = folder
        self._environment = {**os.environ, **environment, "PYTHONUNBUFFERED": "1"}
        self._output = Path(environment["EFFECTS"]).with_name("output")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.webs: list[subprocess.Popen[bytes]] = []
        self.workers: list[subprocess.Popen[bytes]] = []

    def start_web(self) -> None:
        descriptor = self._listener.fileno()
        command = ["uvicorn", f"{self._module}:web", "--fd", str(descriptor)]
        self.webs.append(self._start(command, pass_fds=[descriptor]))

    def start_worker(self) -> None:
        ready = self.output.count(" ready.")
        options = ["-l", "info", "--concurrency", "2", "--without-gossip", "--without-mingle"]
        name = f"worker-{len(self.output)}@localhost"
        command = ["celery", "-A", self._module, "worker", "-Q", "karla", "-n", name, *options]
        self.workers.append(self._start(command))
        until(
            lambda: self.output.count(" ready.") > ready,
            "the worker is ready",
            seconds=3 * PATIENCE_SECONDS,
        )

    def _start(self, command: list[str], pass_fds: Sequence[int] = ()) -> subprocess.Popen[bytes]:
        with self._output.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=self._folder,
                env=self._environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=pass_fds,
            )

    @property
    def output(self) -> str:
        return self._output.read_text() if self._output.exists() else ""

    def close(self) -> None:
        self._listener.close()
        for process in [*self.webs, *self.workers]:
            kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL, to all that the process has started too."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def machines(
    module: str, folder: Path, environment: dict[str, str], *, count: int = 2
) -> Generator[Machines]:
    running = Machines(module, folder, environment)
    watchdog = threading.Timer(10 * PATIENCE_SECONDS, running.close)
    watchdog.start()
    try:
        for _ in range(count):
            running.start_web()
            running.start_worker()
        yield running
    except BaseException:
        print(running.output)  # noqa: T201 - what pytest shows of a failure
        raise
    finally:
        watchdog.cancel()
        running.close()


def send(port: int, body: bytes, secret: str) -> int:
    """Send a delivery once; return the answer's status, 0 if there was none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    try:
        connection.request("POST", "/webhooks/karla", body, signature_header(body, secret))
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def order(number: int) -> bytes:
    """Return a delivery of an order, and of a shipment, of its own."""
    body = samples.read("shipment_delivered").replace(b"NT-20417", b"NT-%d" % number)
    return body.replace(b"2f3f4a0e-9b5c-4c2b-8a71-5f0c9f1f6a10", b"shipment-%d" % number)


def queue_length(url: str) -> int:
    with Connection(url) as connection:
        queue: Any = Queue("karla")(connection.default_channel)
        length: int = queue.queue_declare().message_count
        return length


def has(numbers: list[int], count: int) -> bool:
    return len(numbers) >= count


def lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []
