"""A real Redis, started, hurt and stopped by the tests; and where one is missing, a skip."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

__all__ = ["RedisServer", "free_port", "running_redis"]


def free_port() -> int:
    """Return a port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class RedisServer:
    """One redis-server on a port of its own, with its files in a folder of its own."""

    def __init__(self, folder: Path, *, appendonly: bool) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
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
        deadline = time.monotonic() + 20
        with self.client() as client:
            while True:
                try:
                    client.ping()
                    return
                except RedisError:
                    assert time.monotonic() < deadline, "redis-server does not answer"
                    time.sleep(0.01)

    @property
    def pid(self) -> int:
        """The process to send signals to."""
        assert self._process is not None
        return self._process.pid

    def client(self) -> Redis:
        """Return a client for the tests' own questions."""
        return Redis(port=self.port, socket_timeout=5, decode_responses=True)

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


@contextlib.contextmanager
def running_redis(*, appendonly: bool = False) -> Generator[RedisServer]:
    """Run a Redis; skip the test on a machine that has none (which fails the run in CI)."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed (Debian: apt-get install redis-server)")
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        server = RedisServer(Path(folder), appendonly=appendonly)
        try:
            server.start()
            yield server
        finally:
            server.kill()
