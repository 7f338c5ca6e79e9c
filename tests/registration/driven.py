"""Both clients behind one face, so that each test of one is a test of the other."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

from karla_receiver.registration import AsyncKarlaAPI, KarlaAPI, Retries, Webhook

# No test waits longer than it must.
FAST = Retries(attempts=3, first_wait=0.001, longest_wait=0.5)
URL = "https://shop.example/webhooks/karla"


class Driven:
    """Calls an operation of a client, to its end."""

    def __init__(self, api: KarlaAPI | AsyncKarlaAPI, run: Callable[[Any], Any]) -> None:
        self._api = api
        self._run = run

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *args, **kwargs: self._run(getattr(self._api, name)(*args, **kwargs))

    def webhooks(self, **filters: str | None) -> list[Webhook]:
        async def collected(found: Any) -> list[Webhook]:
            return [webhook async for webhook in found]

        found = self._api.webhooks(**filters)
        return list(found) if isinstance(found, Iterator) else self._run(collected(found))


@contextmanager
def driven(kind: str, environ: dict[str, str], **options: Any) -> Generator[Driven]:
    """Open a client; kind: "sync" or "async"."""
    options = {"retries": FAST, **options}
    if kind == "sync":
        with KarlaAPI.from_env(environ, **options) as api:
            yield Driven(api, lambda result: result)
        return
    with asyncio.Runner() as runner:
        client = AsyncKarlaAPI.from_env(environ, **options)
        runner.run(client.__aenter__())
        yield Driven(client, runner.run)
        runner.run(client.__aexit__(None, None, None))


@contextmanager
def serving(*answers: bytes | None) -> Generator[tuple[str, list[bytes]]]:
    """Answer each connection to a port with the next of these bytes, then close it.

    None: keep the connection open, and answer nothing. Hands out the address and the requests.
    """
    requests: list[bytes] = []
    kept: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for answer in answers:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                kept.append(connection)
                requests.append(_request_on(connection))
                if answer is not None:
                    connection.sendall(answer)
                    connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        host, port = listener.getsockname()
        yield f"{host}:{port}", requests
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    for connection in kept:
        connection.close()


def _request_on(connection: socket.socket) -> bytes:
    request = b""
    while chunk := connection.recv(65_536):
        request += chunk
        if request.startswith(b"\x16"):
            break  # TLS
        head, end, body = request.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        if end and len(body) >= int(length[1] if length else 0):
            break
    return request


def environ_of(address: str, **more: str) -> dict[str, str]:
    return {
        "KARLA_SHOP_SLUG": "nordwind",
        "KARLA_API_KEY": "key-of-the-shop",
        "KARLA_API_URL": f"http://{address}",
        **more,
    }


def http(status: int, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", "Connection: close"]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body
