from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

import pytest
from flask import Flask, request
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

import karla_receiver
from karla_receiver import ConfigurationError, Receiver
from karla_receiver.adapters import asgi, wsgi
from karla_receiver.adapters.flask import webhook
from karla_receiver.testing import (
    Answer,
    Delivery,
    NoAnswerError,
    bad_delivery,
    client_for,
    signed_delivery,
)
from karla_receiver.testing.clients import UnsendableError, asgi_scope, exchange_asgi
from tests.signing import BODY, SECRET
from tests.wsgi_server import serving


def echo(environ: Any, start_response: Any) -> list[bytes]:
    length = int(environ["CONTENT_LENGTH"])
    body = environ["wsgi.input"].read(length)
    start_response("201 Created", [("X-Path", environ["PATH_INFO"]), ("X-Path", "2")])
    query = environ["QUERY_STRING"].encode()
    return [environ["REQUEST_METHOD"].encode(), b" ", query, b" ", body]


@contextlib.contextmanager
def answering(raw: bytes) -> Generator[str]:
    """Serve one connection: read until the blank line, and answer these bytes."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            received = b""
            while b"\r\n\r\n" not in received:
                received += connection.recv(65_536)
            connection.sendall(raw)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/hook"
        finally:
            thread.join()


def send(target: Any, delivery: Delivery, **options: Any) -> Answer:
    with client_for(target, **options) as client:
        return client.send(delivery)


def flask_app() -> Flask:
    app = Flask("shop")
    app.post("/webhooks/karla")(webhook(SECRET)(lambda event: None))
    return app


def send_to_receiver(delivery: Delivery) -> Answer:
    request = karla_receiver.Request(delivery.method, delivery.headers, delivery.body)
    made = Receiver(SECRET).receive(request)
    return Answer(status=made.status, headers=tuple(made.headers), body=made.body)


TARGETS: dict[str, Callable[[], Any]] = {
    "receiver": lambda: Receiver(SECRET),
    "asgi": lambda: asgi.KarlaApp(Receiver(SECRET)),
    "wsgi": lambda: wsgi.KarlaApp(Receiver(SECRET)),
    "flask": flask_app,
    "function": lambda: send_to_receiver,
    "partial": lambda: functools.partial(wsgi.KarlaApp(Receiver(SECRET)).__call__),
}


@pytest.mark.parametrize("name", TARGETS)
def test_a_delivery_reaches_every_kind_of_app_and_the_reason_comes_back(name: str) -> None:
    with client_for(TARGETS[name]()) as client:
        genuine = client.send(signed_delivery(BODY, SECRET))
        forged = client.send(bad_delivery("forged", BODY, SECRET))

    assert (genuine.status, genuine.body, genuine.reason) == (200, b'{"status":"success"}', None)
    assert (forged.status, forged.reason) == (401, "signature_mismatch")
    assert forged.header("content-type") == "application/problem+json"


def test_a_delivery_reaches_a_url() -> None:
    with serving(wsgi.KarlaApp(Receiver(SECRET))) as origin:
        assert send(f"{origin}/hook", signed_delivery(BODY, SECRET)).status == 200
        assert send(f"{origin}/hook", bad_delivery("late", BODY, SECRET)).status == 401


def test_path_query_and_method_arrive() -> None:
    delivery = Delivery(method="PATCH", body=b"x", query="b=2")

    answer = send(echo, delivery, path="/käse/hook?a=1")
    assert (answer.status, answer.body) == (201, b"PATCH a=1&b=2 x")
    assert answer.headers == (("X-Path", "/käse/hook".encode().decode("latin-1")), ("X-Path", "2"))

    with serving(echo) as origin:
        answer = send(f"{origin}/k%C3%A4se/hook?a=1", delivery)
        assert (answer.status, answer.body) == (201, b"PATCH a=1&b=2 x")
        assert answer.header("x-path") == "/käse/hook".encode().decode("latin-1")
        assert send(origin, Delivery(body=b"y")).body == b"POST  y"


async def starlette_echo(request: Request) -> PlainTextResponse:
    body = (await request.body()).decode()
    length = request.headers["content-length"]
    return PlainTextResponse(
        f"{request.method} {request.url.path} {request.url.query} {body}"
        f" {length} {request.headers.getlist('x-n')} {request.state.started}"
    )


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncGenerator[dict[str, str]]:
    LIFE.append("started")
    yield {"started": "yes"}
    LIFE.append("stopped")


LIFE: list[str] = []


def test_an_asgi_app_lives_from_startup_to_shutdown() -> None:
    LIFE.clear()
    app = Starlette(routes=[Route("/hook", starlette_echo, methods=["PUT"])], lifespan=lifespan)
    delivery = Delivery(method="PUT", headers=(("X-N", "1"), ("X-N", "2")), body=b"abc", query="q")

    with client_for(app, path="/hook") as client:
        assert LIFE == ["started"]
        answer = client.send(delivery)
        assert client.send(delivery) == answer
        assert LIFE == ["started"]

    assert answer.text == "PUT /hook q abc 3 ['1', '2'] yes"
    assert LIFE == ["started", "stopped"]


def test_an_app_can_be_used_within_a_running_event_loop() -> None:
    async def main() -> Answer:
        return send(asgi.KarlaApp(Receiver(SECRET)), signed_delivery(BODY, SECRET))

    assert asyncio.run(main()).status == 200


def test_a_streamed_response_is_read_to_its_end() -> None:
    async def chunks() -> AsyncGenerator[bytes]:
        for chunk in (b"one ", b"two ", b"three"):
            await asyncio.sleep(0)
            yield chunk

    async def stream(request: Request) -> StreamingResponse:
        return StreamingResponse(chunks(), 202)

    app = Starlette(routes=[Route("/hook", stream, methods=["POST"])])
    answer = send(app, Delivery(), path="/hook")
    assert (answer.status, answer.body) == (202, b"one two three")


async def plain_asgi(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"  # raises for lifespan, as an app may
    await receive()
    await send({"type": "http.response.start", "status": 204})
    await send({"type": "http.response.body"})
    # The client is still there until the response is complete, and then it is not.
    assert (await receive())["type"] == "http.disconnect"


def test_a_client_stays_until_the_response_is_complete() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        await receive()
        gone = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await asyncio.sleep(0)
        stayed = not gone.done()
        await send({"type": "http.response.body", "body": b"b" if stayed else b"left"})
        assert (await gone)["type"] == "http.disconnect"

    assert send(app, Delivery()).body == b"ab"


def test_a_client_may_leave_before_the_response() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "http.request"
        assert (await receive())["type"] == "http.disconnect"

    messages = iter([{"type": "http.request"}])
    assert asyncio.run(exchange_asgi(app, asgi_scope(Delivery(), "/"), messages, stays=False)) == []


def test_an_app_without_lifespan_or_headers_is_served() -> None:
    assert send(plain_asgi, Delivery()) == Answer(status=204)


def test_an_app_that_does_not_start_says_so() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(NoAnswerError, match="did not start: no database"):
        send(app, Delivery())


def test_what_an_app_raises_is_raised_here() -> None:
    def wsgi_app(environ: Any, start_response: Any) -> list[bytes]:
        raise ZeroDivisionError

    async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            raise SystemExit(3)

    with pytest.raises(ZeroDivisionError):
        send(wsgi_app, Delivery())
    with client_for(asgi_app) as client:
        for _ in range(2):  # and the app lives on
            with pytest.raises(SystemExit):
                client.send(Delivery())


def test_no_answer_is_told_as_what_it_is() -> None:
    async def silent(scope: Any, receive: Any, send: Any) -> None:
        pass

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await asyncio.Event().wait()

    with pytest.raises(NoAnswerError, match="returned without an answer"):
        send(silent, Delivery())
    with pytest.raises(NoAnswerError, match=r"no answer within 0\.05 seconds"):
        send(slow, Delivery(), timeout=0.05)
    with pytest.raises(NoAnswerError, match="never called start_response"):
        send(lambda environ, start_response: [], Delivery())
    with answering(b"") as url, pytest.raises(NoAnswerError, match="RemoteDisconnected"):
        send(url, Delivery())
    with answering(b"nonsense\r\n\r\n") as url, pytest.raises(NoAnswerError, match="BadStatusLine"):
        send(url, Delivery())


def test_a_wsgi_response_is_closed_and_what_was_written_comes_first() -> None:
    class Body:
        closed = False

        def __iter__(self) -> Any:
            yield b"world"

        def close(self) -> None:
            self.closed = True

    body = Body()

    def app(environ: Any, start_response: Any) -> Body:
        start_response("200 OK", [])
        # An error page may replace what was started.
        start_response("500 Oops", [], None)(b"hello ")
        return body

    assert send(app, Delivery()) == Answer(status=500, body=b"hello world")
    assert body.closed


@pytest.mark.parametrize("value", ["a\nb", "a\rb"])
def test_a_line_break_in_a_header_is_not_sent_over_the_wire(value: str) -> None:
    with serving(echo) as origin, pytest.raises(UnsendableError):
        send(origin, Delivery(headers=(("X", value),)))


def test_an_answer_that_comes_before_the_body_is_read_counts() -> None:
    refusal = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n"
    with answering(refusal) as url:
        # Either is right: the answer is read, or the reset that followed it was faster.
        try:
            assert send(url, Delivery(body=b"x" * 20_000_000)).status == 413
        except NoAnswerError as error:
            assert "reset" in str(error).lower()


def test_https_is_spoken_where_the_url_says_so() -> None:
    # To a server that does not: the handshake fails, where plain HTTP would be answered.
    with answering_tls() as url, pytest.raises(NoAnswerError, match="SSL"):
        send(url, Delivery())


@contextlib.contextmanager
def answering_tls() -> Generator[str]:
    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"https://127.0.0.1:{listener.getsockname()[1]}/hook"
        finally:
            thread.join()


class AsyncCallable:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await plain_asgi(scope, receive, send)


class AsyncSender:
    async def send(self, delivery: Delivery) -> Answer:
        return Answer(status=204)


async def print_pairs(one: Any, two: Any) -> None:
    """Neither ASGI's three arguments nor WSGI's manner of call."""


def test_a_function_that_returns_no_answer_has_not_answered() -> None:
    with pytest.raises(NoAnswerError, match="send returned no Answer, but int"):
        send(lambda delivery: 200, Delivery())


def test_asgi_is_told_from_wsgi_by_how_it_is_called() -> None:
    assert send(AsyncCallable(), Delivery()).status == 204
    assert send(
        lambda scope, receive, send: plain_asgi(scope, receive, send), Delivery()
    ) == Answer(status=204)


@pytest.mark.parametrize(
    ("target", "path", "message"),
    [
        (None, None, r"expected an ASGI app, .* or a function send\(delivery\), not NoneType"),
        (lambda: None, None, "function is no ASGI app .* and give its URL"),
        (AsyncSender().send, None, r"no plain function send\(delivery\)"),
        (print_pairs, None, "is no ASGI app"),
        ("localhost:8000/hook", None, "must start with http://"),
        ("ftp://host/hook", None, "must start with http://"),
        ("http:///hook", None, "name a host"),
        ("http://host/hook", "/hook", "a URL has its own"),
        (echo, "hook", "path must start with '/'"),
    ],
)
def test_what_is_no_endpoint_is_a_configuration_error(
    target: Any, path: str | None, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        client_for(target, path=path)


def test_a_flask_app_sees_an_ordinary_request() -> None:
    app = Flask("shop")

    @app.post("/hook")
    def view() -> str:
        return f"{request.host} {request.content_type} {request.remote_addr} {request.get_data()!r}"

    delivery = signed_delivery(b"{}", SECRET)
    answer = send(app, delivery, path="/hook")
    assert answer.text == "testserver application/json 127.0.0.1 b'{}'"
