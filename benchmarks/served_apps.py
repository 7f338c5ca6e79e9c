"""What the servers serve: bare apps that read the body, and the same answer from a receiver.

All tell their process's CPU time at /cpu, in nanoseconds: a control that costs both the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from flask import Flask, request

from benchmarks.deliveries import SECRET
from karla_receiver import Event, Receiver, Verifier, parse_event
from karla_receiver.adapters import asgi, wsgi
from karla_receiver.adapters.flask import webhook
from karla_receiver.request import SUCCESS

_verify = Verifier(SECRET).verify
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


def _asgi_app(use: Callable[[asgi.Scope, bytes], None]) -> asgi.ASGIApp:
    """Make an app that reads the body, uses it, and answers as the receiver does."""

    async def serve(scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        answer = SUCCESS.body
        if scope["path"] == "/cpu":
            answer = _cpu()
        else:
            body, is_complete = b"", False
            while not is_complete:
                message = await receive()
                body += message.get("body", b"")
                is_complete = not message.get("more_body", False)
            use(scope, body)
        headers = [_ASGI_HEADERS[0], (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return serve


def _verify_and_parse(scope: asgi.Scope, body: bytes) -> None:
    _verify(body, dict(scope["headers"])[b"karla-signature"].decode())
    parse_event(body)


asgi_bare = _asgi_app(lambda scope, body: None)
asgi_in_place = _asgi_app(_verify_and_parse)
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
