from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask import request as flask_request

from karla_receiver import ConfigurationError, Event, Receiver
from karla_receiver.adapters.wsgi import KarlaApp, KarlaMiddleware
from tests.doors import (
    PATH,
    asgi_not_found,
    logged_reasons,
    run_wsgi,
    signed_knock,
    wsgi_environ,
)
from tests.signing import BODY, SECRET


def receiver_into(events: list[Event]) -> Receiver:
    receiver = Receiver(SECRET)
    receiver.on("*")(events.append)
    return receiver


def environ_with(**changes: Any) -> dict[str, Any]:
    return {**wsgi_environ(signed_knock()), **changes}


class Recorder:
    """A legacy app: streams its answer, and keeps what it was given."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.bodies: list[bytes] = []
        self.closed = 0

    def __call__(self, environ: Any, start_response: Any) -> Any:
        self.calls.append((environ, start_response))
        if "karla.event" in environ:
            self.bodies.append(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH", -1))))
        start_response("299 Legacy", [("X-Legacy", "yes"), ("X-Legacy", "twice")])
        return self

    def __iter__(self) -> Iterator[bytes]:
        yield from (b"the ", b"app's")

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize(
    "changes",
    [
        {"PATH_INFO": "/"},
        {"PATH_INFO": PATH + "/"},
        {"PATH_INFO": "/" + PATH},
        {"PATH_INFO": "/webhooks//karla"},
        {"PATH_INFO": "/x" + PATH},
        {"RAW_URI": "/webhooks%2Fkarla"},
        {"REQUEST_URI": "/webhooks%2fkarla?x=y"},
    ],
)
def test_anything_else_goes_to_the_app_untouched(changes: dict[str, str]) -> None:
    app = Recorder()
    environ = environ_with(**changes)
    before = dict(environ)

    def start_response(*arguments: Any) -> None:
        """Take it."""

    answer = KarlaMiddleware(app, Receiver(SECRET))(environ, start_response)

    assert answer is app
    ((given, started),) = app.calls
    assert given is environ
    assert started is start_response
    assert environ == before
    assert environ["wsgi.input"].read(10) == BODY[:10]


@pytest.mark.parametrize(
    "changes",
    [
        {"SCRIPT_NAME": "/shop"},
        {"RAW_URI": PATH + "?next=%2F"},
        {"REQUEST_URI": PATH, "RAW_URI": ""},
    ],
)
def test_the_path_is_matched_below_wherever_the_app_is_mounted(changes: dict[str, str]) -> None:
    events: list[Event] = []
    app = KarlaMiddleware(Recorder(), receiver_into(events))

    assert run_wsgi(app, environ_with(**changes))[0] == 200
    assert len(events) == 1


def test_a_path_of_any_letters_can_be_chosen() -> None:
    app = KarlaMiddleware(Recorder(), Receiver(SECRET), path="/größe")
    path_info = "/größe".encode().decode("latin-1")

    assert run_wsgi(app, environ_with(PATH_INFO=path_info))[0] == 200


def test_the_app_alone_receives_at_every_path() -> None:
    events: list[Event] = []
    app = KarlaApp(receiver_into(events))
    status, headers, body = run_wsgi(app, environ_with(PATH_INFO="/anything"))

    assert (status, body) == (200, b'{"status":"success"}')
    assert headers == [("content-type", "application/json"), ("content-length", "20")]
    assert len(events) == 1


def test_a_verified_delivery_is_forwarded_with_its_event_and_its_body_unread() -> None:
    app = Recorder()
    middleware = KarlaMiddleware(app, Receiver(SECRET), forward=True)
    environ = environ_with()
    status, headers, body = run_wsgi(middleware, environ)

    assert environ["karla.event"].order_number == "NT-20417"
    assert app.bodies == [BODY]
    assert (status, body, app.closed) == (299, b"the app's", 1)
    assert headers == [("X-Legacy", "yes"), ("X-Legacy", "twice")]


def test_a_chunked_delivery_is_forwarded_whole() -> None:
    app = Recorder()
    environ = environ_with(**{"wsgi.input_terminated": True})
    del environ["CONTENT_LENGTH"]
    environ["wsgi.input"] = io.BytesIO(BODY)
    run_wsgi(KarlaMiddleware(app, Receiver(SECRET), forward=True), environ)

    assert app.bodies == [BODY]


@pytest.mark.parametrize(
    "changes",
    [
        {"PATH_INFO": "/webhooks/karla/"},
        {"PATH_INFO": "/shop/webhooks/karla"},
        {"PATH_INFO": "/apiwebhooks/karla", "SCRIPT_NAME": "/api"},
        {"PATH_INFO": "http://shop/webhooks/karla?x"},
        {"PATH_INFO": "webhooks/karla"},
        {"PATH_INFO": "//webhooks/karla"},
        {"PATH_INFO": "/webhooks/karla\n"},
        {"PATH_INFO": "/webhooks%2Fkarla"},
        {"PATH_INFO": "/webhooks/karla\xff"},
        {"PATH_INFO": "/webhooks/\xc0karla"},
        {"PATH_INFO": "/webhooks/karla?x"},
        {"PATH_INFO": "/WEBHOOKS/./karla;x"},
        {"PATH_INFO": "/webhooks//../karla"},
        {"PATH_INFO": "/webhooks/;x/../karla"},
        {"PATH_INFO": "/webhooks/\xff/../karla"},
        {"PATH_INFO": "/webhooks/\xe2\x80\x8b/../karla"},
        {"PATH_INFO": "/x%3F/../webhooks/karla"},
        {"RAW_URI": "/webhooks%2Fkarla"},
        {"REQUEST_URI": "http://shop/webhooks%2Fkarla?x"},
    ],
)
def test_no_spelling_of_the_path_reaches_the_app_unverified(changes: dict[str, str]) -> None:
    app = Recorder()
    strict = KarlaMiddleware(app, Receiver("other-secret"), forward=True)
    assert run_wsgi(strict, environ_with(**changes))[0] == 401
    assert app.calls == []

    open_to = KarlaMiddleware(app, Receiver(SECRET), forward=True)
    assert run_wsgi(open_to, environ_with(**changes))[0] == 299
    assert "karla.event" in app.calls[0][0]


@pytest.mark.parametrize("path", ["/", "/webhooks/karlas", "/\udc80", "/\u20ac", ""])
def test_other_paths_are_forwarded_untouched(path: str) -> None:
    app = Recorder()
    middleware = KarlaMiddleware(app, Receiver("other-secret"), forward=True)
    run_wsgi(middleware, environ_with(PATH_INFO=path))
    assert "karla.event" not in app.calls[0][0]


@pytest.mark.parametrize("path", ["/webhooks%2Fkarla", "//webhooks/karla", "/webhooks/karla\n"])
def test_flasks_router_calls_its_view_with_an_event_or_not_at_all(path: str) -> None:
    shop = Flask("shop")

    @shop.post("/webhooks/karla")
    def view() -> str:
        ref: str = flask_request.environ["karla.event"].ref
        return ref

    shop.testing = True
    strict = KarlaMiddleware(shop, Receiver("other-secret"), forward=True)
    assert run_wsgi(strict, environ_with(PATH_INFO=path))[0] == 401
    open_to = KarlaMiddleware(shop, Receiver(SECRET), forward=True)
    assert run_wsgi(open_to, environ_with(PATH_INFO=path))[0] in {200, 308, 404}


def lazy(status: str) -> Any:
    """Make an app that runs only when its response is iterated."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response(status, [])
        yield b"one"
        yield b"two"

    return app


@pytest.mark.parametrize(
    ("status", "reasons"),
    [
        ("200 OK", []),
        ("204 No Content", []),
        ("302 Found", ["handler_error"]),
        ("500 Internal Server Error", ["handler_error"]),
        ("odd", ["handler_error"]),
    ],
)
def test_an_app_that_runs_while_iterated_has_run_before_its_delivery_counts_as_handled(
    status: str, reasons: list[str]
) -> None:
    environ = environ_with()
    with logged_reasons() as logged:
        parts = KarlaMiddleware(lazy(status), Receiver(SECRET), forward=True)(
            environ, lambda *_: None
        )
        assert logged == reasons
    assert b"".join(parts) == b"onetwo"


def eager(environ: Any, start_response: Any) -> Any:
    """Start the response at once, and do the work while it is iterated."""
    start_response("200 OK", [])

    def parts() -> Iterator[bytes]:
        yield b"one"
        raise ZeroDivisionError

    return parts()


def lazy_failing(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [])
    yield b"one"
    raise ZeroDivisionError


@pytest.mark.parametrize("app", [eager, lazy_failing])
def test_an_app_that_fails_on_the_way_is_no_success(app: Any) -> None:
    with logged_reasons() as logged, pytest.raises(ZeroDivisionError):
        run_wsgi(KarlaMiddleware(app, Receiver(SECRET), forward=True), environ_with())
    assert logged == ["handler_error"]


def test_an_app_that_starts_no_response_is_no_success() -> None:
    def nothing(environ: Any, start_response: Any) -> Any:
        return []

    with logged_reasons() as logged:
        middleware = KarlaMiddleware(nothing, Receiver(SECRET), forward=True)
        assert list(middleware(environ_with(), lambda *_: None)) == []
    assert logged == ["handler_error"]


def test_a_refused_delivery_is_answered_and_never_forwarded() -> None:
    app = Recorder()
    middleware = KarlaMiddleware(app, Receiver("other-secret"), forward=True)

    assert run_wsgi(middleware, environ_with())[0] == 401
    assert app.calls == []


def test_an_error_of_the_app_behind_is_the_servers_to_see() -> None:
    def broken(environ: Any, start_response: Any) -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_wsgi(KarlaMiddleware(broken, Receiver(SECRET), forward=True), environ_with())


def test_forwarding_wants_every_event() -> None:
    receiver = Receiver(SECRET)
    KarlaMiddleware(Recorder(), receiver)
    assert receiver.enabled_events == []
    KarlaMiddleware(Recorder(), receiver, forward=True)
    assert receiver.enabled_events == ["*"]


class BrokenInput:
    """What a server hands over when the connection broke: each has its own error."""

    def read(self, size: int) -> bytes:
        raise ConnectionResetError


def test_a_stream_that_breaks_is_an_incomplete_body() -> None:
    environ = environ_with(**{"wsgi.input": BrokenInput()})
    with logged_reasons() as reasons:
        assert run_wsgi(KarlaApp(Receiver(SECRET)), environ)[0] == 400
    assert reasons == ["body_incomplete"]


def test_no_more_is_read_than_was_declared() -> None:
    next_request = b"GET / HTTP/1.1"
    stream = io.BytesIO(BODY + next_request)

    run_wsgi(KarlaApp(Receiver(SECRET)), environ_with(**{"wsgi.input": stream}))
    assert stream.read() == next_request


def test_of_a_stream_that_gives_more_than_it_was_asked_for_only_the_body_is_taken() -> None:
    class Generous:
        def read(self, size: int) -> bytes:
            return BODY + b"GET / HTTP/1.1"

    app = Recorder()
    middleware = KarlaMiddleware(app, Receiver(SECRET), forward=True)
    environ = environ_with(**{"wsgi.input": Generous()})
    assert run_wsgi(middleware, environ)[0] == 299
    assert app.bodies == [BODY]


def test_a_body_without_a_length_is_read_no_further_than_the_limit() -> None:
    class Endless:
        read_bytes = 0

        def read(self, size: int) -> bytes:
            self.read_bytes += size
            return b"a" * size

    stream = Endless()
    environ = environ_with(**{"wsgi.input_terminated": True, "wsgi.input": stream})
    del environ["CONTENT_LENGTH"]

    assert run_wsgi(KarlaApp(Receiver(SECRET)), environ)[0] == 413
    assert stream.read_bytes <= 1_048_576 + 65_536


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        ((None, Receiver(SECRET)), "must be callable"),
        ((Receiver(SECRET), Recorder()), "the receiver comes second"),
        ((asgi_not_found, Receiver(SECRET)), "a WSGI app is called with environ, start_response"),
        ((Recorder(), SECRET), "expected a Receiver"),
        ((Recorder(), Receiver(SECRET), "webhooks"), "starts with '/'"),
        ((Recorder(), Receiver(SECRET), "/a", 1), "forward must be True or False"),
    ],
)
def test_a_middleware_that_can_never_work_is_refused(arguments: Any, remedy: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        KarlaMiddleware(*arguments)
    assert remedy in str(refusal.value)
