"""What `KarlaMiddleware` adds to a request, driven in process as uvicorn drives an ASGI app."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from benchmarks.deliveries import BODY, BODY_5_KB, SECRET
from benchmarks.served_apps import asgi_bare, asgi_in_place, asgi_receiving
from benchmarks.slices import Work, time_slices
from benchmarks.tables import Row, Table, at_most
from karla_receiver import Receiver, sign
from karla_receiver.adapters.asgi import ASGIApp, KarlaMiddleware, Message
from karla_receiver.views.paths import DEFAULT_PATH

__all__ = ["middleware"]


def middleware(rounds: int) -> Table:
    """Compare the middleware with the same work in place, and another path with the app alone."""

    async def measure() -> tuple[Row, ...]:  # on an event loop, as under a server
        added_cpu = [_added_cpu(*body, rounds) for body in (("2 KB", BODY), ("5 KB", BODY_5_KB))]
        return (*added_cpu, _other_path(rounds))

    title = "`KarlaMiddleware`: CPU added to a request, in process"
    return Table("middleware", title, asyncio.run(measure()))


def _added_cpu(size: str, body: bytes, rounds: int) -> Row:
    apps: dict[str, ASGIApp] = {
        "bare": asgi_bare,
        "in place": asgi_in_place,
        "ours": asgi_receiving,
    }
    works = {name: _request(app, "POST", DEFAULT_PATH, body) for name, app in apps.items()}
    taken = time_slices(works, rounds)
    name = f"KarlaMiddleware, {size}, beside `verify` and `parse_event` in the same app"
    in_place, ours = (_added(taken[each], taken["bare"]) for each in ("in place", "ours"))
    return at_most(1.4, name, ours, in_place)


def _added(subject: list[float], base: list[float]) -> list[float]:
    return [one - other for one, other in zip(subject, base, strict=True)]


def _other_path(rounds: int) -> Row:
    async def orders(request: StarletteRequest) -> Response:
        return PlainTextResponse("orders")

    app = Starlette(routes=[Route("/orders", orders)])
    behind = KarlaMiddleware(app, Receiver(SECRET))
    alone, ours = (_request(each, "GET", "/orders", b"") for each in (app, behind))
    taken = time_slices({"alone": alone, "behind": ours}, rounds)
    name = "a request to another path of a Starlette app, beside the app alone"
    return at_most(1.01, name, taken["behind"], taken["alone"])


def _request(app: ASGIApp, method: str, path: str, body: bytes) -> Work:
    """Return one request to the app, with a scope and messages as uvicorn makes them."""
    headers = [
        (b"host", b"shop.example"),
        (b"user-agent", b"karla"),
        (b"accept", b"*/*"),
        (b"content-type", b"application/json"),
        (b"karla-signature", sign(body, SECRET).encode()),
        (b"content-length", b"%d" % len(body)),
    ]

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        if message.get("status", 200) != 200:
            raise RuntimeError(message["status"])

    def work() -> None:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "server": ("127.0.0.1", 8000),
            "client": ("127.0.0.1", 50_000),
            "scheme": "http",
            "root_path": "",
            "headers": headers,
            "state": {},
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
        }
        call: Coroutine[Any, Any, None] = app(scope, receive, send)  # type: ignore[assignment]
        try:
            call.send(None)
        except StopIteration:
            return
        raise RuntimeError("the app waits for something")

    return work
