"""A real RabbitMQ, started, hurt and stopped by the tests; and where one is missing, a skip."""

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
from kombu import Connection

from tests.ports import reserved_port
from tests.waiting import PATIENCE_SECONDS, until

__all__ = ["RabbitServer", "running_rabbitmq"]

# The server itself: what Debian has on the path changes the user, and the folders with it.
_PROGRAM = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


class RabbitServer:
    """One broker on ports of its own, with its files and its name server in a folder of its own."""

    def __init__(self, ports: tuple[int, int, int], folder: Path) -> None:
        self._folder = folder
        self.port, distribution_port, self._names_port = ports
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        (folder / "plugins").write_text("[].")
        self._environment = {
            **os.environ,
            "HOME": str(folder),
            "ERL_EPMD_PORT": str(self._names_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"karla-{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(distribution_port),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
        }
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def pids(self) -> list[int]:
        """Its processes, each with a session of its own."""
        return [process.pid for process in self._processes]

    def start(self) -> None:
        """Start it, and return when it answers: this takes seconds."""
        # As children of ours; a broker that finds no name server would leave one behind.
        names = ["epmd", "-address", "127.0.0.1", "-port", str(self._names_port)]
        for command in (names, [str(_PROGRAM)]):
            with (self._folder / "output").open("ab") as output:
                self._processes.append(
                    subprocess.Popen(
                        command,
                        env=self._environment,
                        stdout=output,
                        stderr=output,
                        start_new_session=True,
                    )
                )
        try:
            until(self._answers, "RabbitMQ answers", seconds=3 * PATIENCE_SECONDS)
        except AssertionError:
            print((self._folder / "output").read_text())  # noqa: T201 - shown with the failure
            raise

    def _answers(self) -> bool:
        with Connection(self.url, connect_timeout=5) as connection:
            try:
                connection.ensure_connection(max_retries=0)
            except Exception:  # noqa: BLE001 - of many kinds, while it starts
                return False
        return True

    def kill(self) -> None:
        """End it as a power cut would: SIGKILL, with all that it has started."""
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._processes.clear()

    @contextlib.contextmanager
    def paused(self) -> Generator[None]:
        """Have it hang: SIGSTOP, and SIGCONT afterwards."""
        group = self._processes[-1].pid
        os.killpg(group, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(group, signal.SIGCONT)


@contextlib.contextmanager
def running_rabbitmq() -> Generator[RabbitServer]:
    """Run a RabbitMQ; skip the test on a machine that has none (which fails the run in CI)."""
    if not _PROGRAM.exists() or shutil.which("epmd") is None:
        pytest.skip("RabbitMQ is not installed (Debian: apt-get install rabbitmq-server)")
    with (
        reserved_port() as first,
        reserved_port() as second,
        reserved_port() as third,
        tempfile.TemporaryDirectory(prefix="rabbitmq-", ignore_cleanup_errors=True) as folder,
    ):
        server = RabbitServer((first, second, third), Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.kill()
