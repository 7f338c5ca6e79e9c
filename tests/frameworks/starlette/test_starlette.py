from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.authentication import AuthenticationBackend, AuthenticationError
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.httpsredirect import HTTPSRedirectMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from karla_receiver import Event, Receiver
from karla_receiver.adapters.starlette import endpoint, webhook
from tests.asgi_server import knock_at, serve
from tests.doors import PATH, asgi_scope, signed_knock
from tests.signing import BODY, SECRET


@webhook(SECRET)
async def about_the_request(request: Request, event: Event) -> JSONResponse:
    return JSONResponse({"shop": request.path_params.get("shop"), "json": await request.json()})


@pytest.mark.parametrize("methods", [None, ["POST"]])
def test_a_route_needs_no_methods(methods: list[str] | None) -> None:
    app = Starlette(routes=[Route(PATH, about_the_request, methods=methods)])

    assert knock_at(app, signed_knock()).status == 200
    refused = knock_at(app, signed_knock(method="GET"))
    assert (refused.status, refused.headers["Allow"]) == (405, "POST")


def test_a_view_can_read_what_the_path_captures_and_the_body() -> None:
    app = Starlette(routes=[Route("/{shop}/karla", about_the_request)])
    scope = asgi_scope(signed_knock(), "/nordlicht/karla")
    _, sent = serve(app, scope, iter([{"type": "http.request", "body": BODY}]))

    assert json.loads(sent["body"]) == {"shop": "nordlicht", "json": json.loads(BODY)}


def test_a_view_hears_when_the_client_is_gone() -> None:
    heard: list[str] = []

    @webhook(SECRET)
    async def view(request: Request, event: Event) -> None:
        heard.extend([(await request.receive())["type"] for _ in range(2)])

    app = Starlette(routes=[Route(PATH, view)])
    messages = [{"type": "http.request", "body": BODY}, {"type": "http.disconnect"}]
    serve(app, asgi_scope(signed_knock()), iter(messages))
    assert heard == ["http.request", "http.disconnect"]


async def read_the_body(request: Request, call_next: Any) -> Any:
    await request.body()
    return await call_next(request)


def test_a_middleware_may_have_read_the_body() -> None:
    app = Starlette(
        routes=[Route(PATH, about_the_request)],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=read_the_body)],
    )
    assert knock_at(app, signed_knock()).status == 200


async def consume_the_body(request: Request, call_next: Any) -> Any:
    async for _ in request.stream():
        pass
    return await call_next(request)


@pytest.mark.parametrize("length", [len(BODY), 0, None])
def test_a_body_that_something_consumed_is_refused_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture, length: int | None
) -> None:
    app = Starlette(
        routes=[Route(PATH, about_the_request)],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=consume_the_body)],
    )
    knock = signed_knock()
    if length is not None:
        knock.headers.append(("Content-Length", str(length)))
    assert knock_at(app, knock).status == 401
    assert ("consumed before @webhook" in caplog.text) == bool(length)


class Login(AuthenticationBackend):
    """Lets nobody in: fails if it is strict, as one that insists on a token does."""

    def __init__(self, *, is_strict: bool) -> None:
        self._is_strict = is_strict

    async def authenticate(self, conn: HTTPConnection) -> None:
        if self._is_strict:
            raise AuthenticationError("no token")


# What the guides say of middleware, and the answers to a genuine and a forged delivery behind it.
BEFORE: dict[str, tuple[Middleware, tuple[int, int]]] = {
    "a login": (Middleware(AuthenticationMiddleware, backend=Login(is_strict=False)), (200, 401)),
    "a strict login": (
        Middleware(AuthenticationMiddleware, backend=Login(is_strict=True)),
        (400, 400),
    ),
    "its host": (Middleware(TrustedHostMiddleware, allowed_hosts=["shop.example"]), (200, 401)),
    "other hosts": (Middleware(TrustedHostMiddleware, allowed_hosts=["else.example"]), (400, 400)),
    "only https": (Middleware(HTTPSRedirectMiddleware), (307, 307)),
    "cors": (Middleware(CORSMiddleware, allow_origins=["https://shop.example"]), (200, 401)),
    "gzip": (Middleware(GZipMiddleware, minimum_size=1), (200, 401)),
}


@pytest.mark.parametrize("route_to", [about_the_request, endpoint(Receiver(SECRET))])
@pytest.mark.parametrize("name", BEFORE)
def test_a_delivery_meets_middleware_before_it_is_verified(name: str, route_to: Any) -> None:
    middleware, statuses = BEFORE[name]
    app = Starlette(routes=[Route(PATH, route_to)], middleware=[middleware])
    knocks = [signed_knock(), signed_knock(secret="another-secret-of-16")]
    for knock in knocks:
        knock.headers.append(("Host", "shop.example"))

    assert tuple(knock_at(app, knock).status for knock in knocks) == statuses


async def pass_on(request: Request, call_next: Any) -> Any:
    return await call_next(request)


INSISTS = Middleware(BaseHTTPMiddleware, dispatch=pass_on)


@pytest.mark.parametrize("middleware", [[], [INSISTS]], ids=["bare", "middleware"])
@pytest.mark.parametrize("route_to", [about_the_request, endpoint(Receiver(SECRET))])
def test_a_client_that_goes_away_is_no_error_under_middleware_that_insists_on_an_answer(
    route_to: Any, middleware: list[Middleware]
) -> None:
    app = Starlette(routes=[Route(PATH, route_to)], middleware=middleware)
    half = {"type": "http.request", "body": BODY[:9], "more_body": True}
    answer = knock_at(app, signed_knock(messages=iter([half, {"type": "http.disconnect"}])))
    assert (answer.status, answer.reason) == (None, "client_disconnected")


def test_a_view_that_is_an_object_keeps_its_attributes_to_itself() -> None:
    class Shop:
        """A view whose attributes have the names of the endpoint's own."""

        def __init__(self) -> None:
            self._receiver = Receiver("another-secret")
            self._view = print
            self.title = "shop"
            self.events: list[Event] = []

        async def __call__(self, request: Request, event: Event) -> None:
            self.events.append(event)

    view = Shop()
    made: Any = webhook(SECRET)(view)
    app = Starlette(routes=[Route(PATH, made, methods=["POST"])])
    knocks = [signed_knock(), signed_knock(secret="another-secret")]
    assert [knock_at(app, knock).status for knock in knocks] == [200, 401]
    assert len(view.events) == 1
    assert made.title == "shop"
