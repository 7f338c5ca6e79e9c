"""What the servers serve: bare apps that read the body, and the same answer from a receiver.

All tell their process's CPU time at /cpu, in nanoseconds: a control that costs both the same.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from flask import Flask, request

from benchmarks.deliveries import BODY, SECRET, hash_floor, typed_decode
from karla_receiver import Event, Receiver
from karla_receiver.adapters import asgi, wsgi
from karla_receiver.adapters.flask import webhook
from karla_receiver.request import SUCCESS

_hash, _decode = hash_floor(BODY), typed_decode(BODY)
receiver = Receiver(SECRET)


@receiver.on("shipments/delivered")
async def handle_async(event: Event) -> None:
    """Do nothing."""


sync_receiver = Receiver(SECRET)


@sync_receiver.on("shipments/delivered")
def handle(event: Event) -> None:
    """Do nothing."""


def _cpu() -> bytes:
    return str(time.process_time_ns()).encode()


_ASGI_HEADERS = [(name.encode(), value.encode()) for name, value in SUCCESS.headers]


async def asgi_bare(scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
    """Read the body and answer as the receiver does."""
    body = SUCCESS.body
    if scope["path"] == "/cpu":
        body = _cpu()
    else:
        while (await receive()).get("more_body", False):
            pass
    headers = [_ASGI_HEADERS[0], (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def asgi_floor(scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
    """Do the work that nobody can do without, in place: the hash and one typed decode."""
    if scope["path"] != "/cpu":
        _hash()
        _decode()
    await asgi_bare(scope, receive, send)


asgi_receiving = asgi.KarlaMiddleware(asgi_bare, receiver)


def wsgi_bare(environ: wsgi.Environ, start_response: wsgi.StartResponse) -> Iterable[bytes]:
    """Read the body and answer as the receiver does."""
    body = SUCCESS.body
    if environ["PATH_INFO"] == "/cpu":
        body = _cpu()
    else:
        environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    headers = [SUCCESS.headers[0], ("content-length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]


def wsgi_floor(environ: wsgi.Environ, start_response: wsgi.StartResponse) -> Iterable[bytes]:
    """Do the work that nobody can do without, in place."""
    if environ["PATH_INFO"] != "/cpu":
        _hash()
        _decode()
    return wsgi_bare(environ, start_response)


wsgi_receiving = wsgi.KarlaMiddleware(wsgi_bare, sync_receiver)

flask_bare = Flask("bare")
flask_floor = Flask("floor")
flask_receiving = Flask("receiving")


@flask_bare.post("/webhooks/karla")
def read() -> tuple[bytes, list[tuple[str, str]]]:
    """Read the body and answer as the receiver does."""
    request.get_data()
    return SUCCESS.body, list(SUCCESS.headers)


@flask_floor.post("/webhooks/karla")
def read_and_work() -> tuple[bytes, list[tuple[str, str]]]:
    """Do the work that nobody can do without, in place."""
    _hash()
    _decode()
    return read()


@flask_receiving.post("/webhooks/karla")
@webhook(SECRET)
def view(event: Event) -> None:
    """Do nothing."""


for app in (flask_bare, flask_floor, flask_receiving):
    app.add_url_rule("/cpu", "cpu", _cpu)
