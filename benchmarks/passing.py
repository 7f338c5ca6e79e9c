"""Requests to other paths: the app behind the middleware beside the app alone, in process."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from flask import Flask
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from benchmarks.deliveries import SECRET
from benchmarks.slices import Work, time_slices
from benchmarks.tables import Table, at_least
from karla_receiver import Receiver
from karla_receiver.adapters import asgi, wsgi

__all__ = ["passing"]


def passing(rounds: int) -> Table:
    """Compare an app in Flask and one in Starlette with themselves behind the middleware."""
    flask_app = Flask("shop")
    flask_app.add_url_rule("/orders", "orders", lambda: "orders")

    async def orders(request: StarletteRequest) -> Response:
        return PlainTextResponse("orders")

    starlette_app = Starlette(routes=[Route("/orders", orders)])
    taken = time_slices(
        {
            "flask": _wsgi_get(flask_app),
            "flask behind": _wsgi_get(wsgi.KarlaMiddleware(flask_app, Receiver(SECRET))),
            "starlette": _asgi_get(starlette_app),
            "starlette behind": _asgi_get(asgi.KarlaMiddleware(starlette_app, Receiver(SECRET))),
        },
        rounds * 2,
    )
    return Table(
        "paths",
        "Other paths through the middleware, beside the app alone",
        (
            at_least(0.99, "other paths, ASGI", taken["starlette behind"], taken["starlette"]),
            at_least(0.99, "other paths, WSGI", taken["flask behind"], taken["flask"]),
        ),
    )


def _wsgi_get(app: wsgi.WSGIApp) -> Work:
    class Nothing:
        def read(self, size: int = -1) -> bytes:
            return b""

    environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/orders",
        "RAW_URI": "/orders",
        "QUERY_STRING": "",
        "SERVER_NAME": "shop.example",
        "SERVER_PORT": "443",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "shop.example",
        "wsgi.url_scheme": "https",
        "wsgi.input": Nothing(),
    }

    def start_response(status: str, headers: list[tuple[str, str]], info: object = None) -> None:
        if status != "200 OK":
            raise RuntimeError(status)

    return lambda: b"".join(app(dict(environ), start_response))


def _asgi_get(app: Any) -> Work:
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "https",
        "path": "/orders",
        "raw_path": b"/orders",
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"shop.example")],
    }

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message.get("status", 200) != 200:
            raise RuntimeError(message["status"])

    def get() -> None:
        call: Coroutine[Any, Any, None] = app(dict(scope), receive, send)
        try:
            call.send(None)
        except StopIteration:
            return
        raise RuntimeError("the app waits for something")

    return get
