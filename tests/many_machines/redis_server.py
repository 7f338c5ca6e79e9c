"""A real Redis, started, hurt and stopped by the tests; and where one is missing, a skip."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from redis import Redis
from redis.exceptions import RedisError

from tests.ports import reserved_port
from tests.waiting import PATIENCE_SECONDS, until

__all__ = ["RedisServer", "running_cluster", "running_redis"]


class RedisServer:
    """One redis-server on a port of its own, with its files in a folder of its own.

    patient_url: its URL for a store that waits for an answer as long as a busy machine may need.
    """

    def __init__(
        self, port: int, folder: Path, *, appendonly: bool, options: Sequence[str] = ()
    ) -> None:
        self.port = port
        self.url = f"redis://127.0.0.1:{port}/0"
        seconds = f"{PATIENCE_SECONDS:g}"
        self.patient_url = f"{self.url}?socket_timeout={seconds}&socket_connect_timeout={seconds}"
        self._command = [
            "redis-server",
            *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder)),
            *("--save", "", "--appendonly", "yes" if appendonly else "no"),
            *("--appendfsync", "always", "--daemonize", "no", "--logfile", "redis.log"),
            *options,
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


def _require_redis() -> None:
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed (Debian: apt-get install redis-server)")


@contextlib.contextmanager
def running_cluster(size: int) -> Generator[list[RedisServer]]:
    """Run a Redis Cluster of primaries that share the slots; skip as `running_redis` does."""
    _require_redis()
    with contextlib.ExitStack() as stack:
        nodes: list[RedisServer] = []
        buses: list[int] = []
        for _ in range(size):
            port, bus = (stack.enter_context(reserved_port()) for _ in range(2))
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="redis-"))
            options = ("--cluster-enabled", "yes", "--cluster-port", str(bus))
            node = RedisServer(port, Path(folder), appendonly=False, options=options)
            stack.callback(node.kill)
            node.start()
            nodes.append(node)
            buses.append(bus)
        for number, node in enumerate(nodes):
            with node.client() as client:
                first, last = (16384 * each // size for each in (number, number + 1))
                client.execute_command("CLUSTER ADDSLOTSRANGE", first, last - 1)
                if number:
                    client.execute_command("CLUSTER MEET", "127.0.0.1", nodes[0].port, buses[0])
        for node in nodes:
            with node.client() as client:
                until(lambda: _is_complete(client, size), "the cluster is complete")
        yield nodes


def _is_complete(client: Redis, size: int) -> bool:
    info: dict[str, str] = cast("Any", client).execute_command("CLUSTER INFO")
    return (info["cluster_state"], info["cluster_known_nodes"]) == ("ok", str(size))


def _answers(client: Redis) -> bool:
    with contextlib.suppress(RedisError):
        return bool(client.ping())
    return False


@contextlib.contextmanager
def running_redis(*, appendonly: bool = False) -> Generator[RedisServer]:
    """Run a Redis; skip the test on a machine that has none (which fails the run in CI)."""
    _require_redis()
    with reserved_port() as port, tempfile.TemporaryDirectory(prefix="redis-") as folder:
        server = RedisServer(port, Path(folder), appendonly=appendonly)
        try:
            server.start()
            yield server
        finally:
            server.kill()
