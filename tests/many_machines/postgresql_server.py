"""A real PostgreSQL, started, restarted and stopped by the tests; where there is none, a skip."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest

from tests.ports import reserved_port
from tests.waiting import PATIENCE_SECONDS, until

__all__ = ["PostgreSQL", "running_postgresql"]

# It refuses to run as root. Debian's package makes this user.
_USER = "postgres"


class PostgreSQL:
    """One server on a port of its own, with its files in a folder of its own.

    settings: how to reach it, by the names that Django gives them.
    """

    def __init__(self, programs: Path, folder: Path, port: int) -> None:
        self._programs = programs
        self._folder = folder
        self._port = port
        self._process: subprocess.Popen[Any] | None = None
        self.settings: dict[str, Any] = {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": "127.0.0.1",
            "PORT": port,
            "NAME": "postgres",
            "USER": _USER,
        }

    def initialise(self) -> None:
        """Make its files."""
        command = [str(self._programs / "initdb"), "--no-sync", "--auth", "trust", "-U", _USER]
        subprocess.run(
            [*command, "-D", self._folder], check=True, stdout=subprocess.DEVNULL, **_as_its_user()
        )

    def start(self) -> None:
        """Start it, and return when it answers."""
        options = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
        command = [str(self._programs / "postgres"), "-D", str(self._folder), "-p", str(self._port)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stderr=log, **_as_its_user())
        until(self._answers, "PostgreSQL answers")

    def stop(self) -> None:
        """Stop it as `pg_ctl stop --mode fast` does: connections are closed."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(PATIENCE_SECONDS)
            self._process = None

    def fetch(self, query: LiteralString) -> list[tuple[Any, ...]]:
        """Run a query on a connection of its own."""
        with self._connect() as connection:
            return connection.execute(query).fetchall()

    def execute(self, statement: LiteralString) -> None:
        """Run a statement on a connection of its own, and commit."""
        with self._connect() as connection:
            connection.execute(statement)

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(host="127.0.0.1", port=self._port, dbname="postgres", user=_USER)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "log").read_text()
        with suppress(psycopg.OperationalError):
            self._connect().close()
            return True
        return False


def _as_its_user() -> dict[str, Any]:
    return {"user": _USER, "group": _USER, "extra_groups": []} if os.geteuid() == 0 else {}


@contextmanager
def running_postgresql() -> Generator[PostgreSQL]:
    """Run a PostgreSQL; skip the test on a machine that has none (which fails the run in CI)."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    with reserved_port() as port, tempfile.TemporaryDirectory(prefix="postgresql-") as name:
        if os.geteuid() == 0:
            shutil.chown(name, _USER, _USER)
        server = PostgreSQL(programs[-1], Path(name), port)
        server.initialise()
        try:
            server.start()
            yield server
        finally:
            server.stop()
