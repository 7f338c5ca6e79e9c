"""What the servers serve: bare apps that read the body, and the same answer from a receiver.

All tell their process's CPU time at /cpu, in nanoseconds: a control that costs both the same.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from flask import Flask, request

from benchmarks.deliveries import SECRET
from karla_receiver import Event, Receiver
from karla_receiver.adapters import asgi, wsgi
from karla_receiver.adapters.flask import webhook
from karla_receiver.request import SUCCESS

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


wsgi_receiving = wsgi.KarlaMiddleware(wsgi_bare, sync_receiver)

flask_bare = Flask("bare")
flask_receiving = Flask("receiving")


@flask_bare.post("/webhooks/karla")
def read() -> tuple[bytes, list[tuple[str, str]]]:
    """Read the body and answer as the receiver does."""
    request.get_data()
    return SUCCESS.body, list(SUCCESS.headers)


@flask_receiving.post("/webhooks/karla")
@webhook(SECRET)
def view(event: Event) -> None:
    """Do nothing."""


for app in (flask_bare, flask_receiving):
    app.add_url_rule("/cpu", "cpu", _cpu)
