"""Code as a user writes it, for type checkers only: nothing here is run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from datetime import datetime
from typing import Any, assert_type

from aiohttp import web
from django.http import HttpRequest, HttpResponse
from django.urls import path
from fastapi import FastAPI
from flask import Flask
from quart import Quart
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from karla_receiver import (
    ClaimEvent,
    Event,
    EventGroup,
    PayloadError,
    Phase,
    Reason,
    Receiver,
    Request,
    Response,
    ShipmentEvent,
    SignatureError,
    UnknownEvent,
    Verified,
    Verifier,
    parse_event,
    sign,
)
from karla_receiver.adapters import (
    aiohttp,
    asgi,
    aws_lambda,
    django,
    fastapi,
    quart,
    starlette,
    wsgi,
)
from karla_receiver.adapters.flask import webhook
from karla_receiver.events import Order

receiver = Receiver("secret", b"old-secret", tolerance=60, require_https=True)
from_env = Receiver.from_env(max_body_bytes=65_536)


@receiver.on("shipments/delivered", "shipments/collect")
def on_shipment(event: ShipmentEvent) -> None:
    assert_type(event.shipment_id, str)
    assert_type(event.phase, str | None)
    assert_type(event.updated_at, datetime | None)
    assert_type(event.order, Order | None)
    assert_type(event.raw, dict[str, Any])
    if event.phase == Phase.DELIVERED:
        assert_type(event.order_number, str | None)


@receiver.on(group=EventGroup.CLAIM_CREATED)
async def on_claim(event: ClaimEvent) -> None:
    assert_type(event.claim_id, str)
    for item in event.event_data.selected_items:
        assert_type(item.quantity, int | None)


@receiver.around
@contextmanager
def session(event: Event) -> Generator[None]:
    yield


@receiver.around
@asynccontextmanager
async def async_session(event: Event) -> AsyncGenerator[None]:
    yield


@receiver.around
def application_context(event: Event) -> AbstractContextManager[None]:
    return session(event)


receiver.around(application_context, outermost=True)


def parse_shipment() -> ShipmentEvent:
    event = parse_event(b"{}")
    assert_type(event, Event)
    match event:
        case ShipmentEvent():
            return event
        case UnknownEvent(problem=problem):
            raise LookupError(problem)
        case _:
            raise TypeError


# A decorated handler keeps its type.
assert_type(on_shipment(parse_shipment()), None)


def by_hand(body: bytes, header: str | None) -> int | None:
    try:
        verified = Verifier("secret").verify(body, header)
    except SignatureError as error:
        assert_type(error.reason, Reason)
        assert_type(error.clock_skew, float | None)
        return error.status
    except PayloadError as error:
        return error.status
    assert_type(verified, Verified)
    assert_type(sign(body, "secret", timestamp=verified.timestamp), str)
    return verified.secret_index


async def through_the_receiver(headers: dict[str, str], body: bytes) -> None:
    assert_type(receiver.receive(Request("POST", headers, body, "https")), Response)
    assert_type(await receiver.receive_async(Request("POST", [(b"a", b"b")], [body])), Response)
    assert_type(receiver.enabled_events, list[str])


app = Flask(__name__)


@app.post("/karla")
@webhook("secret")
def view(event: Event) -> None:
    """Acknowledge."""


@app.post("/<shop>/karla")
@webhook(receiver)
async def view_of_a_shop(event: Event, shop: str) -> dict[str, str]:
    return {"shop": shop}


app.wsgi_app = wsgi.KarlaMiddleware(app.wsgi_app, receiver, path="/hooks", forward=True)  # type: ignore[method-assign]
standalone = asgi.KarlaMiddleware(asgi.KarlaApp(receiver), receiver)


@starlette.webhook(receiver)
async def starlette_view(request: StarletteRequest, event: Event) -> None:
    """Acknowledge."""


@starlette.webhook("new", b"old")
def starlette_view_of_its_own_answer(request: StarletteRequest, event: Event) -> PlainTextResponse:
    return PlainTextResponse("later", 202)


assert_type(starlette_view, starlette.Endpoint)
starlette_app = Starlette(routes=[Route("/karla", starlette_view)])

router = fastapi.KarlaRouter("secret", tags=["karla"])


@router.post("/karla")
async def path_function(event: fastapi.KarlaEvent) -> None:
    assert_type(event, Event)
    if isinstance(event, ShipmentEvent):
        assert_type(event.shipment_id, str)


fastapi_app = FastAPI()
fastapi_app.include_router(router)
fastapi_app.include_router(fastapi.webhook_router(receiver, path="/hooks"))


@django.webhook()
def django_view(request: HttpRequest, event: Event) -> HttpResponse | None:
    return HttpResponse(status=202) if isinstance(event, ClaimEvent) else None


@django.webhook(receiver)
async def django_view_of_a_shop(request: HttpRequest, event: Event, shop: str) -> None:
    """Acknowledge."""


urlpatterns = [path("karla", django_view), path("all", django.endpoint(receiver))]

routes = web.RouteTableDef()


@routes.post("/karla")
@aiohttp.webhook("secret")
async def aiohttp_view(request: web.Request, event: Event) -> web.Response:
    return web.Response(status=202)


aiohttp_app = web.Application()
aiohttp_app.router.add_post("/all", aiohttp.endpoint(receiver))

quart_app = Quart(__name__)


@quart_app.post("/<shop>/karla")
@quart.webhook("secret")
async def quart_view(event: Event, shop: str) -> tuple[str, int]:
    return shop, 202


@aws_lambda.webhook("secret")
def lambda_handler(event: Event, context: object) -> None:
    """Acknowledge."""


lambda_answer = lambda_handler({"version": "2.0"}, None)
