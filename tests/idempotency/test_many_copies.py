"""Thousands of copies of one delivery, over 200 connections, through real servers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import pytest

from karla_receiver import samples, sign
from tests.inbox.stock import states
from tests.many_machines.redis_server import running_redis
from tests.signing import SECRET
from tests.waiting import PATIENCE_SECONDS, until

pytestmark = pytest.mark.slow

CONNECTIONS = 200


def kill_all(servers: list[subprocess.Popen[bytes]]) -> None:
    for server in servers:
        server.kill()
        server.wait()


@contextlib.contextmanager
def served(processes: int, store: str, effects: Path, gate: Gate) -> Generator[int]:
    """Run so many uvicorns that accept from one socket; return its port."""
    with socket.create_server(("127.0.0.1", 0), backlog=CONNECTIONS) as listener:
        command = [sys.executable, "-m", "uvicorn", "--factory"]
        servers = [
            subprocess.Popen(
                [
                    *command,
                    "tests.idempotency.copies:make_app",
                    "--fd",
                    str(listener.fileno()),
                    "--log-level",
                    "warning",
                    "--no-access-log",
                ],
                pass_fds=[listener.fileno()],
                cwd=Path(__file__).parents[2],
                env={**os.environ, "STORE": store, "EFFECTS": str(effects), "GATE": str(gate.path)},
            )
            for _ in range(processes)
        ]
        watchdog = threading.Timer(5 * PATIENCE_SECONDS, kill_all, (servers,))
        watchdog.start()
        try:
            yield listener.getsockname()[1]
        finally:
            watchdog.cancel()
            kill_all(servers)


class Gate:
    """Lets the handler end when 100 copies have been refused meanwhile."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._refused = 0

    def note(self, status: int) -> None:
        self._refused += status == 409
        if self._refused == 100:
            self.path.touch()


async def statuses(port: int, request: bytes, count: int, gate: Gate) -> list[int]:
    """Send a request so many times over one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers: list[int] = []
    try:
        for _ in range(count):
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode().lower().split("\r\n")
            answers.append(int(lines[0].split()[1]))
            gate.note(answers[-1])
            (length,) = (int(line[15:]) for line in lines if line.startswith("content-length:"))
            await reader.readexactly(length)
    finally:
        writer.close()
    return answers


async def statuses_of_all(port: int, request: bytes, counts: list[int], gate: Gate) -> Counter[int]:
    """Send it over as many connections as there are counts, all at once."""
    answers = await asyncio.gather(*(statuses(port, request, count, gate) for count in counts))
    return Counter(status for each in answers for status in each)


def send_until_acknowledged(port: int, copies: int, gate: Gate) -> list[Counter[int]]:
    """Send the copies, and those that were refused again, as Karla does; return the answers.

    There is one count for each time. A busy machine may refuse with 503 more than once.
    """
    body = samples.read("shipment_delivered")
    head = (
        f"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: {len(body)}\r\n"
        f"Karla-Signature: {sign(body, SECRET)}\r\n\r\n"
    )
    request = head.encode() + body
    times: list[Counter[int]] = []

    def is_acknowledged() -> bool:
        left = copies - sum(answers[200] for answers in times)
        share, rest = divmod(left, CONNECTIONS)
        counts = [share + (number < rest) for number in range(CONNECTIONS)]
        counts = [count for count in counts if count]
        times.append(asyncio.run(statuses_of_all(port, request, counts, gate)))
        return times[-1][200] == left

    until(is_acknowledged, "every copy is acknowledged")
    return times


def check(processes: int, store: str, folder: Path, *, copies: int) -> None:
    effects, gate = folder / "effects", Gate(folder / "gate")
    with served(processes, store, effects, gate) as port:
        first, *later = send_until_acknowledged(port, copies, gate)
    print(f"{store}: {first} and then {later}")  # noqa: T201 - figures, shown by pytest -s
    assert effects.read_bytes() == b"."
    assert set(first) <= {200, 409, 503}
    assert all(set(answers) <= {200, 503} for answers in later)


def test_one_effect_in_four_processes_over_redis(tmp_path: Path) -> None:
    with running_redis() as server:
        check(4, f"redis {server.patient_url}", tmp_path, copies=10_000)


def test_one_effect_in_four_processes_over_sqlite(tmp_path: Path) -> None:
    check(4, f"sqlite {tmp_path / 'karla.db'}", tmp_path, copies=10_000)


def test_one_effect_in_four_processes_over_an_inbox(tmp_path: Path) -> None:
    path, effects, gate = tmp_path / "karla.db", tmp_path / "effects", Gate(tmp_path / "gate")
    with served(4, f"inbox {path}", effects, gate) as port:
        times = send_until_acknowledged(port, 10_000, gate)
        gate.path.touch()
        until(lambda: list(states(path).values()) == ["done"])
    print(f"inbox: {times}")  # noqa: T201 - figures, shown by pytest -s
    assert effects.read_bytes() == b"."
    assert all(set(answers) <= {200, 503} for answers in times)


def test_one_effect_in_one_process_over_memory(tmp_path: Path) -> None:
    check(1, "memory", tmp_path, copies=2_000)
