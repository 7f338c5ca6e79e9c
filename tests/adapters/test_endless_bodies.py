"""A body in pieces over WSGI, from a server that does not say where it ends."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import Any

import pytest
from a2wsgi import WSGIMiddleware
from asgiref.wsgi import WsgiToAsgi
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest
from flask import Flask, request

from karla_receiver import Event, Receiver
from karla_receiver.adapters import django, flask
from karla_receiver.adapters.wsgi import KarlaApp, KarlaMiddleware
from tests.asgi_server import serve
from tests.doors import (
    PATH,
    Knock,
    asgi_scope,
    logged_reasons,
    run_wsgi,
    signed_knock,
    wsgi_environ,
    wsgi_not_found,
)
from tests.frameworks.django import routed
from tests.signing import SECRET


def flask_app(receiver: Receiver) -> Any:
    app = Flask("shop")

    @app.post(PATH)
    @flask.webhook(receiver)
    def view(event: Event) -> None:
        """Take it."""

    return app


def touched_flask_app(receiver: Receiver) -> Any:
    app = flask_app(receiver)

    def touch() -> None:
        request.get_data()

    app.before_request(touch)
    return app


def in_django(view: Any) -> Any:
    def app(environ: Any, start_response: Any) -> Any:
        with routed(view):
            return list(WSGIHandler()(environ, start_response))

    return app


def django_app(receiver: Receiver) -> Any:
    return in_django(django.endpoint(receiver))


def touched_django_app(receiver: Receiver) -> Any:
    inner = django.endpoint(receiver)

    @wraps(inner)
    def view(request: HttpRequest) -> Any:
        request.body  # noqa: B018 - as a middleware may
        return inner(request)

    return in_django(view)


APPS: dict[str, Callable[[Receiver], Any]] = {
    "app": KarlaApp,
    "middleware": lambda receiver: KarlaMiddleware(wsgi_not_found, receiver),
    "forwarding": lambda receiver: KarlaMiddleware(wsgi_not_found, receiver, PATH, forward=True),
    "flask": flask_app,
    "flask, touched before": touched_flask_app,
    "django": django_app,
    "django, touched before": touched_django_app,
}
EVERY_APP = pytest.mark.parametrize("make", APPS.values(), ids=APPS)


class Untouchable:
    """Input that may be read for ever."""

    def read(self, *size: int) -> bytes:
        raise AssertionError("the body was read")

    readline = read


def in_pieces(**changes: Any) -> dict[str, Any]:
    environ = {**wsgi_environ(signed_knock()), "HTTP_TRANSFER_ENCODING": "chunked", **changes}
    del environ["CONTENT_LENGTH"]
    return environ


@EVERY_APP
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"HTTP_TRANSFER_ENCODING": "", "SERVER_PROTOCOL": "HTTP/2"},
        {"HTTP_TRANSFER_ENCODING": "", "SERVER_PROTOCOL": "HTTP/3"},
    ],
    ids=["chunked", "HTTP/2", "HTTP/3"],
)
def test_a_body_that_has_no_end_is_refused_unread_and_the_log_tells_what_to_set(
    make: Any, changes: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    environ = in_pieces(**{"wsgi.input": Untouchable(), **changes})
    with logged_reasons() as reasons:
        status, headers, body = run_wsgi(make(Receiver(SECRET)), environ)

    assert (status, reasons) == (411, ["length_required"])
    assert dict(headers).get("content-type", "application/problem+json").endswith("problem+json")
    assert json.loads(body) == {
        "title": "Length Required",
        "status": 411,
        "reason": "length_required",
    }
    assert "wsgi.input_terminated" in caplog.text
    assert "proxy_request_buffering" in caplog.text


# Where something asks Django for the body first, Django reads none without a length.
@pytest.mark.parametrize("name", sorted(APPS.keys() - {"django, touched before"}))
def test_a_body_whose_end_the_server_tells_is_read(name: str) -> None:
    receiver = Receiver(SECRET)
    events: list[Event] = []
    receiver.on("*")(events.append)
    body = io.BytesIO(signed_knock().body)
    environ = in_pieces(**{"wsgi.input": body, "wsgi.input_terminated": True})
    try:
        run_wsgi(APPS[name](receiver), environ)
    except AssertionError as forwarded:
        assert "let a delivery through" in str(forwarded)
    assert len(events) == 1


@EVERY_APP
def test_a_request_without_a_body_is_none_of_this(make: Any) -> None:
    environ = in_pieces(HTTP_TRANSFER_ENCODING="")
    with logged_reasons() as reasons:
        assert run_wsgi(make(Receiver(SECRET)), environ)[0] == 401
    assert reasons == ["signature_mismatch"]


def starlettes_bridge(app: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and in use
        bridge: Any = import_module("starlette.middleware.wsgi").WSGIMiddleware
    return bridge(app)


@EVERY_APP
@pytest.mark.parametrize(
    "bridge",
    [WsgiToAsgi, WSGIMiddleware, starlettes_bridge],
    ids=["asgiref", "a2wsgi", "starlette"],
)
@pytest.mark.parametrize("is_chunked", [True, False], ids=["chunked", "with a length"])
def test_the_bridges_from_asgi_do_not_tell_the_end_of_a_body(
    make: Any, bridge: Any, is_chunked: bool
) -> None:
    knock = signed_knock()
    coding = ("Transfer-Encoding", "chunked")
    length = ("Content-Length", str(len(knock.body)))
    headers = [*knock.headers, coding if is_chunked else length]
    scope = asgi_scope(Knock(headers=headers, body=knock.body))
    pieces = [knock.body[:99], knock.body[99:]]
    messages = [
        {"type": "http.request", "body": piece, "more_body": piece is pieces[0]} for piece in pieces
    ]
    with logged_reasons() as reasons:
        sent = serve(bridge(make(Receiver(SECRET))), scope, iter(messages))
    if is_chunked:
        assert (sent[0]["status"], reasons) == (411, ["length_required"])
    else:
        assert "length_required" not in reasons
