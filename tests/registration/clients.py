"""What the tests of the client share: a quick one, and a port that answers as it is told."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from karla_receiver.registration import KarlaAPI, Retries

# No test waits longer than it must.
FAST = Retries(attempts=3, first_wait=0.001, longest_wait=0.5)
URL = "https://shop.example/webhooks/karla"


def client(environ: dict[str, str], **options: Any) -> KarlaAPI:
    """Return a client that waits no longer than it must between attempts."""
    options.setdefault("retries", FAST)
    return KarlaAPI.from_env(environ, **options)


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
