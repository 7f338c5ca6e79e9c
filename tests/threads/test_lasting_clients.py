"""What async handlers made once goes on working, whichever way they are called."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from karla_receiver import Event, Receiver
from karla_receiver.adapters import aws_lambda, flask
from karla_receiver.inbox import SQLiteInbox
from tests.doors import PATH, run_wsgi, signed_knock, wsgi_environ
from tests.faults.serving import body_of, deliver
from tests.frameworks.aws_lambda import version_2
from tests.inbox.stock import delivery, in_threads, states
from tests.signing import SECRET, signed
from tests.waiting import PATIENCE_SECONDS, until
from tests.ways import WAYS

# An async client that is connected once, as those of databases are, to a server that echoes lines.
CLIENT = '''
import asyncio

class Client:
    """Connects once, and lets two calls at a time ask."""

    def __init__(self, port, last_use=None):
        self.port = port
        self.uses = 0
        self.last_use = last_use
        self.turn = asyncio.Semaphore(1)
        self.streams = None
        self.loops = set()

    async def ask(self, question):
        self.loops.add(asyncio.get_running_loop())
        async with self.turn:
            if self.streams is None:
                self.streams = await asyncio.open_connection("127.0.0.1", self.port)
            reader, writer = self.streams
            writer.write(question + b"\\n")
            return await asyncio.wait_for(reader.readline(), 60)

    async def ask_twice(self):
        answers = await asyncio.gather(self.ask(b"one"), self.ask(b"two"))
        assert answers == [b"one\\n", b"two\\n"], answers
        self.uses += 1
        if self.uses == self.last_use:
            self.streams[1].close()
            await self.streams[1].wait_closed()
'''
_names: dict[str, Any] = {}
exec(CLIENT, _names)  # noqa: S102 - it is our own
Client: Any = _names["Client"]


@pytest.fixture(name="port", scope="module")
def _port() -> Iterator[int]:
    """Serve lines back, from a thread for each connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=echo, args=(connection,), daemon=True).start()

        def echo(connection: socket.socket) -> None:
            with connection, connection.makefile("rwb") as stream:
                for line in stream:
                    stream.write(line)
                    stream.flush()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.fixture(name="client")
def _client(port: int) -> Any:
    return Client(port)


# Each door of an event loop has one of its own for each request, as no server does.
NOT_LASTING = {
    *("aiohttp", "asgi", "django async", "fastapi", "fastapi endpoint", "quart", "starlette"),
}


@pytest.mark.parametrize("name", sorted(WAYS.keys() - NOT_LASTING))
def test_a_client_that_was_made_once_works_at_every_delivery(name: str, client: Any) -> None:
    async def handle(event: Event) -> None:
        await client.ask_twice()

    client.last_use = 4
    outcomes = WAYS[name](lambda receiver: receiver.on("*")(handle), 4)
    assert outcomes == ["handled"] * 4
    assert len(client.loops) == 1


def test_it_works_in_all_threads_of_a_server_at_once(client: Any) -> None:
    client.last_use = 40
    receiver = Receiver(SECRET)
    statuses: list[int] = []

    @receiver.on("*")
    async def handle(event: Event) -> None:
        await client.ask_twice()

    def serve(_: int) -> None:
        statuses.extend(receiver.receive(signed()).status for _ in range(5))

    in_threads(8, serve)
    assert statuses == [200] * 40
    assert len(client.loops) == 1


@pytest.mark.parametrize("framework", ["flask", "lambda"])
def test_it_works_in_async_views(framework: str, client: Any) -> None:
    client.last_use = 4
    knock = signed_knock()

    async def flask_view(event: Event) -> str:
        await client.ask_twice()
        return flask_app.name

    async def lambda_view(event: Event, context: object) -> None:
        await client.ask_twice()

    flask_app = Flask("shop")
    flask_app.add_url_rule(PATH, view_func=flask.webhook(SECRET)(flask_view), methods=["POST"])
    handler = aws_lambda.webhook(SECRET)(lambda_view)

    def status() -> int:
        if framework == "flask":
            return run_wsgi(flask_app, wsgi_environ(knock))[0]
        code: int = handler(version_2(knock), None)["statusCode"]
        return code

    assert [status() for _ in range(4)] == [200] * 4
    assert len(client.loops) == 1


# --- in processes of their own ---

SHOP = (
    CLIENT
    + """
import os
from karla_receiver import Receiver
from karla_receiver.adapters import asgi, wsgi
from karla_receiver.inbox import SQLiteInbox

client = Client(int(os.environ["PORT"]))
workers = int(os.environ["WORKERS"])
inbox = SQLiteInbox("karla.db", workers=workers) if os.environ["INBOX"] else None
receiver = Receiver(os.environ["SECRET"], inbox=inbox)

@receiver.on("*")
async def handle(event):
    await client.ask_twice()
    with open("handled", "a") as file:
        file.write(f"{id(asyncio.get_running_loop())}\\n")

asgi_app = asgi.KarlaApp(receiver)
wsgi_app = wsgi.KarlaApp(receiver)
"""
)


def environment(port: int, *, inbox: str = "", workers: int = 0) -> dict[str, str]:
    own = {"PORT": str(port), "INBOX": inbox, "WORKERS": str(workers), "SECRET": SECRET}
    return {**os.environ, **own}


@contextmanager
def running(*command: str, **options: Any) -> Generator[subprocess.Popen[Any]]:
    process: subprocess.Popen[Any] = subprocess.Popen(
        [sys.executable, *command], start_new_session=True, **options
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def loops_of(folder: Path) -> list[str]:
    handled = folder / "handled"
    return handled.read_text().splitlines() if handled.exists() else []


SERVERS: dict[str, tuple[str, dict[str, Any]]] = {
    "uvicorn with an inbox's worker": (
        "uvicorn shop:asgi_app --fd {fd} --log-level warning",
        {"inbox": "yes", "workers": 2},
    ),
    "gunicorn": (
        "gunicorn shop:wsgi_app --bind fd://{fd} --threads 4 --log-level warning"
        " --no-control-socket",
        {},
    ),
    "gunicorn with an inbox's worker": (
        "gunicorn shop:wsgi_app --bind fd://{fd} --threads 4 --log-level warning"
        " --no-control-socket",
        {"inbox": "yes", "workers": 2},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SERVERS)
def test_it_works_in_a_real_server(name: str, port: int, tmp_path: Path) -> None:
    command, options = SERVERS[name]
    (tmp_path / "shop.py").write_text(SHOP)
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        running(
            "-m",
            *command.format(fd=listener.fileno()).split(),
            cwd=tmp_path,
            env=environment(port, **options),
            pass_fds=[listener.fileno()],
        ) as server,
    ):
        statuses = [deliver(listener.getsockname()[1], number) for number in range(5)]
        assert statuses == [200] * 5
        until(lambda: len(loops_of(tmp_path)) == 5)
        server.terminate()
        assert server.wait(PATIENCE_SECONDS) in (0, -signal.SIGTERM)
    assert len(set(loops_of(tmp_path))) == 1


@pytest.mark.slow
def test_it_works_in_the_command_work(port: int, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    inbox = SQLiteInbox(tmp_path / "karla.db")
    for number in range(5):
        inbox.put(delivery(str(number), body=body_of(number)))
    inbox.close()
    with running(
        "-c",
        "from karla_receiver.cli import main; main()",
        "work",
        "shop:receiver",
        cwd=tmp_path,
        env=environment(port, inbox="yes"),
    ) as worker:
        until(lambda: set(states(tmp_path / "karla.db").values()) == {"done"})
        worker.terminate()
        assert worker.wait(PATIENCE_SECONDS) == 0
    assert len(loops_of(tmp_path)) == 5
    assert len(set(loops_of(tmp_path))) == 1
