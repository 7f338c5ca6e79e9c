"""Apps whose routers take many spellings for one path, each with a view that notes its calls.

An app answers 200 at its view and something else elsewhere. A view notes whether it was given a
verified event.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeAlias
from urllib.parse import unquote

import falcon
import falcon.asgi
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.urls import re_path
from fastapi import FastAPI
from flask import Flask
from flask import request as flask_request
from quart import Quart
from quart import request as quart_request
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from tests.frameworks.django import routed_by

__all__ = ["ROUTERS", "Note", "Router"]

# Called by a view with the scope or environ that it was given.
Note: TypeAlias = Callable[[Any], None]

# Those that come without types.
bottle: Any = import_module("bottle")
cherrypy: Any = import_module("cherrypy")
pecan: Any = import_module("pecan")
Configurator: Any = import_module("pyramid.config").Configurator
PyramidResponse: Any = import_module("pyramid.response").Response

VIEW = "/webhooks/karla"
DONE = "done"


@dataclass(frozen=True)
class Router:
    """An app and what its developer would call the path of its view.

    unlisted: a path beyond any list of spellings that leads to the view, if there is one.
    """

    name: str
    make: Callable[[Note], Any]
    is_asgi: bool = False
    view: str = VIEW
    unlisted: str | None = None


# --- WSGI ----------------------------------------------------------------------------------------


def by_beginning(note: Note) -> Any:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        is_found = environ["PATH_INFO"].startswith(VIEW)
        if is_found:
            note(environ)
        start_response("200 OK" if is_found else "404 Not Found", [])
        return [b"done" if is_found else b"nothing"]

    return app


def by_a_loose_pattern(note: Note) -> Any:
    pattern = re.compile(r"webhooks\W*karla", re.IGNORECASE)

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        is_found = pattern.search(unquote(unquote(environ["PATH_INFO"])))
        if is_found:
            note(environ)
        start_response("200 OK" if is_found else "404 Not Found", [])
        return [b"done" if is_found else b"nothing"]

    return app


def django_view(note: Note) -> Callable[[HttpRequest], HttpResponse]:
    def view(request: HttpRequest) -> HttpResponse:
        note(getattr(request, "scope", None) or request.META)
        return HttpResponse(DONE)

    vars(view)["csrf_exempt"] = True
    return view


def django(handler: Any, pattern: str) -> Callable[[Note], Any]:
    def make(note: Note) -> Any:
        urls = [re_path(pattern, django_view(note))]
        inner = handler()

        def wsgi(environ: Any, start_response: Any) -> Any:
            with routed_by(urls):
                return list(inner(environ, start_response))

        async def asgi(scope: Any, receive: Any, send: Any) -> None:
            with routed_by(urls):
                await inner(scope, receive, send)

        return asgi if handler is ASGIHandler else wsgi

    return make


class Webhooks(dict[str, object]):
    """A resource below which a view answers. A view without one answers below every resource."""


def pyramid_traversal(note: Note) -> Any:
    def view(context: Any, request: Any) -> Any:
        note(request.environ)
        return PyramidResponse(DONE)

    with Configurator(root_factory=lambda request: {"webhooks": Webhooks()}) as config:
        config.add_view(view, context=Webhooks, name="karla")
    return config.make_wsgi_app()


def pyramid_routes(note: Note) -> Any:
    def view(request: Any) -> Any:
        note(request.environ)
        return PyramidResponse(DONE)

    with Configurator() as config:
        config.add_route("karla", "/webhooks/karla*rest")
        config.add_view(view, route_name="karla")
    return config.make_wsgi_app()


def pecan_objects(note: Note) -> Any:
    class Webhooks:
        @pecan.expose()  # type: ignore[untyped-decorator]
        def karla(self, *rest: Any, **parameters: Any) -> str:
            note(pecan.request.environ)
            return DONE

    class Root:
        webhooks = Webhooks()

    return pecan.make_app(Root())


def cherrypy_objects(note: Note) -> Any:
    class Root:
        @cherrypy.expose  # type: ignore[untyped-decorator]
        def karla_hook(self, *rest: Any, **parameters: Any) -> str:
            note(cherrypy.serving.request.wsgi_environ)
            return DONE

    config = {"/": {"request.show_tracebacks": False, "log.screen": False}}
    app = cherrypy.Application(Root(), "", config)
    app.log.screen = False
    return app


def bottle_filter(note: Note) -> Any:
    app = bottle.Bottle()

    @app.post("/webhooks/karla<rest:re:.*>")  # type: ignore[untyped-decorator]
    def view(rest: str) -> str:
        note(bottle.request.environ)
        return DONE

    return app


def falcon_sink(note: Note) -> Any:
    def sink(request: Any, response: Any) -> None:
        note(request.env)
        response.text = DONE

    app: Any = falcon.App()
    app.add_sink(sink, "/webhooks/karla")
    return app


def flask_rules(note: Note) -> Any:
    app = Flask("shop")
    app.url_map.strict_slashes = False

    @app.post("/webhooks/karla")
    @app.post("/webhooks/karla/<path:rest>")
    def view(rest: str = "") -> str:
        note(flask_request.environ)
        return DONE

    return app


# --- ASGI ----------------------------------------------------------------------------------------


def starlette_routes(note: Note) -> Any:
    async def view(request: Request) -> PlainTextResponse:
        note(request.scope)
        return PlainTextResponse(DONE)

    return Starlette(
        routes=[
            Route("/webhooks/karla{rest:path}", view, methods=["POST"]),
            Mount("/{tenant}", routes=[Route("/webhooks/karla", view, methods=["POST"])]),
        ]
    )


def fastapi_routes(note: Note) -> Any:
    app = FastAPI()

    @app.post("/webhooks/karla")
    @app.post("/webhooks/karla/{rest:path}")
    async def view(request: Request) -> str:
        note(request.scope)
        return DONE

    return app


def quart_rules(note: Note) -> Any:
    app = Quart("shop")
    app.url_map.merge_slashes = False

    @app.post("/webhooks/karla")
    @app.post("/<path:before>/webhooks/karla")
    async def view(before: str = "") -> str:
        note(quart_request.scope)
        return DONE

    return app


def falcon_asgi_sink(note: Note) -> Any:
    async def sink(request: Any, response: Any, **captured: str) -> None:
        note(request.scope)
        response.text = DONE

    app: Any = falcon.asgi.App()
    app.add_sink(sink, re.compile("/webhooks/karla", re.IGNORECASE))
    return app


def by_its_end(note: Note) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        is_found = scope["path"].rstrip("/").lower().endswith("webhooks/karla")
        if is_found:
            note(scope)
        status = 200 if is_found else 404
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"done" if is_found else b"nothing"})

    return app


def by_name(routers: Iterable[Router]) -> dict[str, Router]:
    return {router.name: router for router in routers}


ROUTERS = by_name(
    [
        Router("beginning", by_beginning, unlisted="/webhooks/karlaX"),
        Router("loose pattern", by_a_loose_pattern, unlisted="/x-webhooks:karlas"),
        Router(
            "django",
            django(WSGIHandler, r"^webhooks/karla"),
            unlisted="/webhooks/karlaX",
        ),
        Router(
            "django over asgi",
            django(ASGIHandler, r"^webhooks/karla"),
            is_asgi=True,
            unlisted="/webhooks/karla/x",
        ),
        Router("pyramid traversal", pyramid_traversal, unlisted="/webhooks/@@karla"),
        Router("pyramid routes", pyramid_routes, unlisted="/webhooks/karlaX"),
        Router("pecan", pecan_objects, unlisted="/webhooks/karla.html"),
        Router("cherrypy", cherrypy_objects, view="/karla_hook", unlisted="/karla-hook"),
        Router("bottle", bottle_filter, unlisted="/webhooks/karlaX"),
        Router("falcon", falcon_sink, unlisted="/webhooks/karla/x"),
        Router("flask", flask_rules, unlisted="/webhooks/karla/x"),
        Router("starlette", starlette_routes, is_asgi=True, unlisted="/webhooks/karla:x"),
        Router("fastapi", fastapi_routes, is_asgi=True, unlisted="/webhooks/karla/x"),
        Router("quart", quart_rules, is_asgi=True, unlisted="/x/webhooks/karla"),
        Router("falcon over asgi", falcon_asgi_sink, is_asgi=True, unlisted="/Webhooks/Karla/x"),
        Router("end", by_its_end, is_asgi=True, unlisted="/x-webhooks/karla"),
    ]
)
