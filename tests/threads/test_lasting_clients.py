"""What async handlers made once goes on working, whichever way they are called."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from flask import Flask
from starlette.applications import Starlette
from starlette.routing import Route

from karla_receiver import Event, Receiver
from karla_receiver.adapters import aws_lambda, fastapi, flask, starlette
from karla_receiver.inbox import SQLiteInbox
from tests.doors import PATH, run_wsgi, signed_knock, wsgi_environ
from tests.faults.serving import body_of, deliver
from tests.frameworks.aws_lambda import version_2
from tests.inbox.stock import delivery, in_threads, states
from tests.server_loop import lasting_loop
from tests.signing import SECRET, signed
from tests.waiting import PATIENCE_SECONDS, until
from tests.ways import WAYS, numbered, status_of

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


@pytest.mark.parametrize("name", WAYS)
def test_a_client_that_was_made_once_works_at_every_delivery(name: str, client: Any) -> None:
    async def handle(event: Event) -> None:
        await client.ask_twice()

    client.last_use = 4
    with lasting_loop():
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


# --- on the server's loop, with the app's lifespan ---


def starlette_app(receiver: Receiver, lifespan: Any) -> Any:
    return Starlette(routes=[Route(PATH, starlette.endpoint(receiver))], lifespan=lifespan)


def fastapi_app(receiver: Receiver, lifespan: Any) -> Any:
    app = FastAPI(lifespan=lifespan)
    app.include_router(fastapi.endpoint(receiver, PATH))
    return app


@asynccontextmanager
async def doing_nothing(app: object) -> AsyncGenerator[None]:
    yield


@pytest.mark.parametrize("make", [starlette_app, fastapi_app])
def test_a_client_of_the_apps_lifespan_works_in_the_handlers_of_a_worker(
    make: Callable[[Receiver, Any], Any], client: Any, tmp_path: Path
) -> None:
    inbox = SQLiteInbox(tmp_path / "karla.db", workers=2)
    receiver = Receiver(SECRET, inbox=inbox)

    @receiver.on("*")
    async def handle(event: Event) -> None:
        await client.ask_twice()

    @asynccontextmanager
    async def lifespan(app: object) -> AsyncGenerator[None]:
        assert await client.ask(b"connected") == b"connected\n"
        yield
        await asyncio.to_thread(inbox.stop)
        client.streams[1].close()

    async def live() -> None:
        app = make(receiver, lifespan)
        async with app.router.lifespan_context(app):
            for number in range(3):
                assert await status_of(app, signed_knock(numbered(number))) == 200
            await asyncio.to_thread(until, lambda: client.uses == 3)

    asyncio.run(live())
    assert set(states(tmp_path / "karla.db").values()) == {"done"}
    inbox.close()


def test_fastapis_lifespan_ends_when_the_worker_has_finished(tmp_path: Path) -> None:
    inbox = SQLiteInbox(tmp_path / "karla.db", workers=1)
    receiver = Receiver(SECRET, inbox=inbox)
    begun, may_end = asyncio.Event(), asyncio.Event()

    @receiver.on("*")
    async def handle(event: Event) -> None:
        begun.set()
        await may_end.wait()

    async def live() -> None:
        app = fastapi_app(receiver, doing_nothing)
        async with app.router.lifespan_context(app):
            assert await status_of(app, signed_knock()) == 200
            await begun.wait()
            asyncio.get_running_loop().call_later(0.05, may_end.set)
        assert set(states(tmp_path / "karla.db").values()) == {"done"}

    asyncio.run(live())
    inbox.close()


def test_a_worker_that_is_stopped_by_the_loop_of_its_handler_gives_the_delivery_back(
    tmp_path: Path,
) -> None:
    inbox = SQLiteInbox(tmp_path / "karla.db", workers=1)
    receiver = Receiver(SECRET, inbox=inbox)
    begun = asyncio.Event()

    @receiver.on("*")
    async def handle(event: Event) -> None:
        begun.set()
        await asyncio.Event().wait()

    async def live() -> None:
        assert await status_of(starlette_app(receiver, None), signed_knock()) == 200
        await begun.wait()
        assert not inbox.stop(grace=0.01), "it waits for the loop, which waits for it"
        assert set(states(tmp_path / "karla.db").values()) == {"waiting"}

    asyncio.run(live())
    inbox.close()


def test_a_worker_that_runs_already_calls_on_the_loop_of_fastapis_lifespan(tmp_path: Path) -> None:
    inbox = SQLiteInbox(tmp_path / "karla.db")
    receiver = Receiver(SECRET, inbox=inbox)
    app = fastapi_app(receiver, doing_nothing)
    loops: list[asyncio.AbstractEventLoop] = []

    @receiver.on("*")
    async def handle(event: Event) -> None:
        loops.append(asyncio.get_running_loop())

    def receive_and_wait(number: int) -> None:
        receiver.receive(signed(numbered(number)))
        until(lambda: len(loops) == number + 1)

    async def live() -> asyncio.AbstractEventLoop:
        async with app.router.lifespan_context(app):
            await asyncio.to_thread(receive_and_wait, 1)
        return asyncio.get_running_loop()

    inbox.start(1)
    receive_and_wait(0)
    servers = asyncio.run(live())
    assert loops[0] is not servers
    assert loops[1] is servers
    inbox.close()


# --- in processes of their own ---

SHOP = (
    CLIENT
    + """
import os
from karla_receiver import Receiver
from karla_receiver.adapters import asgi, wsgi
from karla_receiver.adapters.fastapi import endpoint
from karla_receiver.inbox import SQLiteInbox
from contextlib import asynccontextmanager
from fastapi import FastAPI

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

@asynccontextmanager
async def lifespan(app):
    await client.ask(b"connected")
    yield

fastapi_app = FastAPI(lifespan=lifespan)
fastapi_app.include_router(endpoint(receiver, "/"))
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
    "uvicorn with FastAPI and an inbox's worker": (
        "uvicorn shop:fastapi_app --fd {fd} --log-level warning",
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
