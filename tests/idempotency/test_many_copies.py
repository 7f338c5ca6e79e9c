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

from karla_receiver import samples, sign
from tests.inbox.stock import states
from tests.many_machines.redis_server import running_redis
from tests.signing import SECRET
from tests.waiting import until

CONNECTIONS = 200


def kill_all(servers: list[subprocess.Popen[bytes]]) -> None:
    for server in servers:
        server.kill()
        server.wait()


@contextlib.contextmanager
def served(processes: int, store: str, effects: Path) -> Generator[int]:
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
                ],
                pass_fds=[listener.fileno()],
                cwd=Path(__file__).parents[2],
                env={**os.environ, "STORE": store, "EFFECTS": str(effects)},
            )
            for _ in range(processes)
        ]
        watchdog = threading.Timer(120, kill_all, (servers,))
        watchdog.start()
        try:
            yield listener.getsockname()[1]
        finally:
            watchdog.cancel()
            kill_all(servers)


async def statuses(port: int, request: bytes, count: int) -> list[int]:
    """Send a request so many times over one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers: list[int] = []
    try:
        for _ in range(count):
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode().lower().split("\r\n")
            answers.append(int(lines[0].split()[1]))
            (length,) = (int(line[15:]) for line in lines if line.startswith("content-length:"))
            await reader.readexactly(length)
    finally:
        writer.close()
    return answers


async def statuses_of_all(port: int, request: bytes, counts: list[int]) -> Counter[int]:
    """Send it over as many connections as there are counts, all at once."""
    answers = await asyncio.gather(*(statuses(port, request, count) for count in counts))
    return Counter(status for each in answers for status in each)


def send_twice(port: int, copies: int) -> tuple[Counter[int], Counter[int]]:
    """Send the copies, and those that were refused once more; return both times' answers."""
    body = samples.read("shipment_delivered")
    head = (
        f"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: {len(body)}\r\n"
        f"Karla-Signature: {sign(body, SECRET)}\r\n\r\n"
    )
    request = head.encode() + body
    counts = [copies // CONNECTIONS] * CONNECTIONS
    first = asyncio.run(statuses_of_all(port, request, counts))
    refused = copies - first[200]
    share, rest = divmod(refused, CONNECTIONS)
    again = [share + (number < rest) for number in range(CONNECTIONS)]
    return first, asyncio.run(statuses_of_all(port, request, again))


def check(processes: int, store: str, folder: Path, *, copies: int) -> None:
    effects = folder / "effects"
    with served(processes, store, effects) as port:
        first, second = send_twice(port, copies)
    print(f"{store}: {first} and then {second}")  # noqa: T201 - figures, shown by pytest -s
    assert effects.read_bytes() == b"."
    assert set(first) <= {200, 409, 503}
    assert first[409] > 0  # or the copies came one after the other, and nothing was shown
    assert set(second) <= {200}
    assert first[200] + second[200] == copies


def test_one_effect_in_four_processes_over_redis(tmp_path: Path) -> None:
    with running_redis() as server:
        check(4, f"redis {server.url}", tmp_path, copies=10_000)


def test_one_effect_in_four_processes_over_sqlite(tmp_path: Path) -> None:
    check(4, f"sqlite {tmp_path / 'karla.db'}", tmp_path, copies=10_000)


def test_one_effect_in_four_processes_over_an_inbox(tmp_path: Path) -> None:
    path, effects = tmp_path / "karla.db", tmp_path / "effects"
    with served(4, f"inbox {path}", effects) as port:
        first, second = send_twice(port, 10_000)
        until(lambda: list(states(path).values()) == ["done"])
    print(f"inbox: {first} and then {second}")  # noqa: T201 - figures, shown by pytest -s
    assert effects.read_bytes() == b"."
    assert set(first) <= {200, 503}
    assert set(second) <= {200}
    assert first[200] + second[200] == 10_000


def test_one_effect_in_one_process_over_memory(tmp_path: Path) -> None:
    check(1, "memory", tmp_path, copies=2_000)
