"""A real Redis, started, hurt and stopped by the tests; and where one is missing, a skip."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from tests.ports import reserved_port
from tests.waiting import PATIENCE_SECONDS, until

__all__ = ["RedisServer", "running_redis"]


class RedisServer:
    """One redis-server on a port of its own, with its files in a folder of its own.

    patient_url: its URL for a store that waits for an answer as long as a busy machine may need.
    """

    def __init__(self, port: int, folder: Path, *, appendonly: bool) -> None:
        self.port = port
        self.url = f"redis://127.0.0.1:{port}/0"
        seconds = f"{PATIENCE_SECONDS:g}"
        self.patient_url = f"{self.url}?socket_timeout={seconds}&socket_connect_timeout={seconds}"
        self._command = [
            "redis-server",
            *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder)),
            *("--save", "", "--appendonly", "yes" if appendonly else "no"),
            *("--appendfsync", "always", "--daemonize", "no", "--logfile", "redis.log"),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return when it answers."""
        self._process = subprocess.Popen(self._command, start_new_session=True)
        with self.client() as client:
            until(lambda: _answers(client), "redis-server answers")

    @property
    def pid(self) -> int:
        """The process to send signals to."""
        assert self._process is not None
        return self._process.pid

    def client(self) -> Redis:
        """Return a client for the tests' own questions."""
        return Redis(port=self.port, socket_timeout=PATIENCE_SECONDS, decode_responses=True)

    def kill(self) -> None:
        """End it as a power cut would: SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @contextlib.contextmanager
    def paused(self) -> Generator[None]:
        """Have it hang: SIGSTOP, and SIGCONT afterwards."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)


def _answers(client: Redis) -> bool:
    with contextlib.suppress(RedisError):
        return bool(client.ping())
    return False


@contextlib.contextmanager
def running_redis(*, appendonly: bool = False) -> Generator[RedisServer]:
    """Run a Redis; skip the test on a machine that has none (which fails the run in CI)."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed (Debian: apt-get install redis-server)")
    with reserved_port() as port, tempfile.TemporaryDirectory(prefix="redis-") as folder:
        server = RedisServer(port, Path(folder), appendonly=appendonly)
        try:
            server.start()
            yield server
        finally:
            server.kill()
