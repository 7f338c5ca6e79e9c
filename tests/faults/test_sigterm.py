"""SIGTERM to real servers, with a hundred deliveries on their way into the inbox."""

from __future__ import annotations

import hashlib
import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from karla_receiver import sign
from tests.faults.endpoints import FOLDER, SECRET
from tests.inbox.stock import states, until

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
def serving(name: str, folder: Path) -> Generator[tuple[subprocess.Popen[bytes], int]]:
    """Run a server; return it and its port."""
    with socket.create_server(("127.0.0.1", 0), backlog=2 * IN_FLIGHT) as listener:
        port: int = listener.getsockname()[1]
        command = SERVERS[name].format(fd=listener.fileno()).split()
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            pass_fds=[listener.fileno()],
            cwd=ROOT,
            env={**os.environ, FOLDER: str(folder)},
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
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", "/", body, {"Karla-Signature": sign(body, SECRET)})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def keys(numbers: list[int]) -> set[str]:
    return {hashlib.sha256(body_of(number)).hexdigest() for number in numbers}


@pytest.mark.parametrize("name", SERVERS)
def test_what_is_in_flight_at_sigterm_is_kept_and_acknowledged(name: str, tmp_path: Path) -> None:
    came = tmp_path / "came"
    with serving(name, tmp_path) as (server, port), ThreadPoolExecutor(IN_FLIGHT) as pool:
        answers = [pool.submit(deliver, port, number) for number in range(IN_FLIGHT)]
        until(lambda: came.exists() and came.stat().st_size == IN_FLIGHT)
        server.terminate()
        (tmp_path / "gate").touch()
        assert [answer.result() for answer in answers] == [200] * IN_FLIGHT
        server.wait(30)
    assert set(states(tmp_path / "karla.db")) == keys(list(range(IN_FLIGHT)))


@pytest.mark.parametrize("name", SERVERS)
def test_nothing_that_was_acknowledged_before_or_after_sigterm_is_lost(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "gate").touch()
    came = tmp_path / "came"
    with serving(name, tmp_path) as (server, port), ThreadPoolExecutor(IN_FLIGHT) as pool:

        def deliver_until_refused(sender: int) -> tuple[list[int], list[int]]:
            acknowledged: list[int] = []
            number = sender
            while (status := deliver(port, number)) == 200:
                acknowledged.append(number)
                number += IN_FLIGHT
            return acknowledged, [number] if status is None else []

        senders = [pool.submit(deliver_until_refused, number) for number in range(IN_FLIGHT)]
        until(lambda: came.exists() and came.stat().st_size >= 5 * IN_FLIGHT)
        server.terminate()
        server.wait(30)
        results = [sender.result() for sender in senders]
    acknowledged = keys([number for numbers, _ in results for number in numbers])
    unanswered = keys([number for _, numbers in results for number in numbers])
    stored = set(states(tmp_path / "karla.db"))
    print(f"{name}: {len(acknowledged)} acknowledged, {len(stored)} stored")  # noqa: T201 - pytest -s
    assert len(acknowledged) >= 4 * IN_FLIGHT
    assert acknowledged <= stored
    assert stored - acknowledged <= unanswered
