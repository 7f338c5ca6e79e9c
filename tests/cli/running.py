"""Runs the command line: in this process, or as a process of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from typer.testing import CliRunner

from karla_receiver.cli.program import program
from tests.signing import SECRET
from tests.waiting import PATIENCE_SECONDS, until

MAIN = "from karla_receiver.cli import main; main()"


class Run(NamedTuple):
    """How a command ended."""

    status: int
    output: str
    errors: str

    @property
    def told(self) -> str:
        """The error as one line, without the frame around it."""
        return " ".join(self.errors.replace("\u2502", " ").split())

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The lines of JSON."""
        return [json.loads(line) for line in self.output.splitlines()]


def run(*arguments: str | Path, stdin: bytes | None = None, secret: str | None = SECRET) -> Run:
    """Run a command in this process. secret: in the environment; None for none."""
    environment = {
        "KARLA_WEBHOOK_SECRET": secret,
        "KARLA_WEBHOOK_SECRETS": None,
        "COLUMNS": "200",
        "NO_COLOR": "1",
    }
    result = CliRunner().invoke(program, list(map(str, arguments)), input=stdin, env=environment)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Run(result.exit_code, result.stdout, result.stderr)


@contextmanager
def started(*arguments: str | Path, **variables: str) -> Generator[subprocess.Popen[str]]:
    """Start a command as a process, and see to it that it ends."""
    command = [sys.executable, "-W", "error", "-c", MAIN, *map(str, arguments)]
    environment = {key: value for key, value in os.environ.items() if "KARLA" not in key}
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment, **variables},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def run_into_closed_pipe(*arguments: str | Path, **variables: str) -> Run:
    """Run a command as a process whose reader is gone before anything is written."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = subprocess.run(
            [sys.executable, "-W", "error", "-c", MAIN, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=subprocess.PIPE,
            env={**os.environ, **variables},
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    finally:
        os.close(writer)
    return Run(ended.returncode, "", ended.stderr)


def when_listening(port: int, host: str = "127.0.0.1") -> socket.socket:
    """Return a connection to a port as soon as somebody listens there."""
    connections: list[socket.socket] = []

    def is_connected() -> bool:
        with suppress(ConnectionRefusedError):
            connections.append(socket.create_connection((host, port), timeout=PATIENCE_SECONDS))
        return bool(connections)

    until(is_connected, f"somebody listens at port {port}")
    return connections[0]
