from __future__ import annotations

import asyncio
import gzip
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientSession, web

from karla_receiver import ConfigurationError, Event, Receiver, sign
from karla_receiver.adapters.aiohttp import endpoint, webhook
from tests.doors import logged_reasons, signed_knock
from tests.frameworks.aiohttp import ask
from tests.signing import BODY, SECRET, signature_header


def talk(
    conversation: Callable[[int], Awaitable[Any]], receiver: Receiver | None = None, **options: Any
) -> tuple[Any, list[str]]:
    """Hold a conversation with a server; return its outcome, and the reasons that were logged."""

    async def serve() -> Any:
        app = web.Application(**options)
        app.router.add_post("/karla", endpoint(receiver or Receiver(SECRET)))
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            return await conversation(runner.addresses[0][1])
        finally:
            await runner.cleanup()

    with logged_reasons() as reasons:
        return asyncio.run(serve()), reasons


def post(data: Any, signed: bytes = BODY) -> Callable[[int], Awaitable[int]]:
    async def conversation(port: int) -> int:
        headers = signature_header(signed)
        async with (
            ClientSession() as session,
            session.post(f"http://127.0.0.1:{port}/karla", data=data, headers=headers) as answer,
        ):
            return answer.status

    return conversation


async def pieces() -> AsyncIterator[bytes]:
    for place in range(0, len(BODY), 7):
        yield BODY[place : place + 7]


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b"a" * 65_536


def test_a_delivery_is_received_by_a_server_in_one_piece_or_many() -> None:
    events: list[Event] = []
    receiver = Receiver(SECRET)
    receiver.on("*")(events.append)

    assert talk(post(BODY), receiver) == (200, [])
    assert talk(post(pieces()), receiver) == (200, [])
    assert len(events) == 2


def test_the_servers_own_limit_does_not_replace_the_receivers() -> None:
    assert talk(post(BODY), client_max_size=10) == (200, [])
    large = b"a" * 1_048_577
    assert talk(post(io.BytesIO(large), large), client_max_size=0) == (413, ["body_too_large"])


def raw(rest: bytes, *, head: bytes, is_end: bool = True) -> Callable[[int], Awaitable[bytes]]:
    """Send a request as bytes, say no more, and return the first line of the answer."""

    async def conversation(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        signature = sign(BODY, SECRET).encode()
        writer.write(b"POST /karla HTTP/1.1\r\nHost: x\r\nKarla-Signature: " + signature + b"\r\n")
        writer.write(head + b"\r\n\r\n" + rest)
        if is_end:
            writer.write_eof()
        try:
            return await reader.readline()
        finally:
            writer.close()

    return conversation


def test_a_body_that_never_ends_is_refused() -> None:
    chunk = b"10000\r\n" + b"a" * 65_536 + b"\r\n"
    answer, reasons = talk(raw(chunk * 20, head=b"Transfer-Encoding: chunked"))
    # The phrase that follows is the Python version's own.
    assert (answer[:12], reasons) == (b"HTTP/1.1 413", ["body_too_large"])


def test_nothing_is_called_when_the_client_goes_away() -> None:
    events: list[Event] = []
    receiver = Receiver(SECRET)
    receiver.on("*")(events.append)
    length = b"Content-Length: %d" % len(BODY)
    _, reasons = talk(raw(BODY[:20], head=length), receiver)

    assert (events, reasons) == ([], ["client_disconnected"])


def test_a_body_that_aiohttp_cannot_read_is_broken() -> None:
    """As when its parser, the one in Python, meets a chunk that is none."""

    @web.middleware
    async def break_body(request: web.Request, handler: Any) -> web.StreamResponse:
        request.content.set_exception(web.RequestPayloadError("not a chunk"))
        answer: web.StreamResponse = await handler(request)
        return answer

    length = b"Content-Length: %d" % len(BODY)
    answer, reasons = talk(raw(BODY[:20], head=length, is_end=False), middlewares=[break_body])
    assert (answer, reasons) == (b"HTTP/1.1 400 Bad Request\r\n", ["body_incomplete"])


@pytest.mark.parametrize("body", [gzip.compress(BODY), BODY], ids=["compressed", "not even that"])
def test_a_body_that_aiohttp_decompresses_is_refused(body: bytes) -> None:
    """Its MAC may fit what comes out, but those are not the bytes that came."""
    head = b"Content-Encoding: gzip\r\nContent-Length: %d" % len(body)
    answer, reasons = talk(raw(body, head=head, is_end=False))
    assert (answer, reasons) == (b"HTTP/1.1 401 Unauthorized\r\n", ["signature_mismatch"])


@pytest.mark.parametrize("secret", [SECRET, "another-secret-of-16"])
def test_the_middlewares_of_an_app_come_first_also_around_a_sub_app(secret: str) -> None:
    is_open = False

    @web.middleware
    async def login(request: web.Request, handler: Any) -> web.StreamResponse:
        if not is_open:
            return web.Response(status=403)
        answer: web.StreamResponse = await handler(request)
        return answer

    def status() -> int | None:
        app, sub_app = web.Application(middlewares=[login]), web.Application()
        sub_app.router.add_post("/karla", endpoint(Receiver(SECRET)))
        app.add_subapp("/webhooks", sub_app)
        knock = signed_knock(secret=secret)
        knock.headers.append(("Host", "shop.example"))  # no port: aiohttp 3.9 trips over one
        (answered,) = ask({"app": app}, [knock])
        return answered

    assert status() == 403
    is_open = True
    assert status() == (200 if secret == SECRET else 401)


def test_a_middleware_may_have_read_the_body() -> None:
    @web.middleware
    async def read_first(request: web.Request, handler: Any) -> web.StreamResponse:
        assert await request.read() == BODY
        answer: web.StreamResponse = await handler(request)
        return answer

    assert talk(post(BODY), middlewares=[read_first]) == (200, [])


def test_a_body_that_something_consumed_is_refused_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @web.middleware
    async def consume(request: web.Request, handler: Any) -> web.StreamResponse:
        await request.content.read()
        answer: web.StreamResponse = await handler(request)
        return answer

    assert talk(post(BODY), middlewares=[consume]) == (401, ["signature_mismatch"])
    assert "consumed before @webhook" in caplog.text


def test_a_secret_is_no_receiver() -> None:
    with pytest.raises(ConfigurationError, match="expected a Receiver"):
        endpoint(SECRET)  # type: ignore[arg-type]


def test_a_handler_fits_a_table_of_routes() -> None:
    routes = web.RouteTableDef()

    @routes.post("/karla")
    @webhook(SECRET)
    async def view(request: web.Request, event: Event) -> None:
        """Acknowledge."""

    assert len(routes) == 1
