from __future__ import annotations

import asyncio
import itertools
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

from karla_receiver import ConfigurationError, Event, Reason, Receiver, SignatureError
from karla_receiver.adapters.asgi import KarlaApp, KarlaMiddleware, require_event
from karla_receiver.inbox import Novelty
from karla_receiver.outcomes import Discard, RetryLater
from karla_receiver.request import REFUSALS
from tests.doors import (
    PATH,
    asgi_scope,
    logged_reasons,
    run_asgi,
    signed_knock,
    wsgi_not_found,
)
from tests.observed import Keeper
from tests.signing import BODY, SECRET, signature_header
from tests.waiting import PATIENCE_SECONDS


def receiver_into(events: list[Event]) -> Receiver:
    receiver = Receiver(SECRET)
    receiver.on("*")(events.append)
    return receiver


def messages(*bodies: bytes) -> Iterator[dict[str, Any]]:
    for place, body in enumerate(bodies, 1):
        yield {"type": "http.request", "body": body, "more_body": place < len(bodies)}


def status_of(sent: list[Any]) -> int:
    status: int = sent[0]["status"]
    return status


class Recorder:
    """An app that keeps the scope it was given and what it could receive, and answers 299."""

    def __init__(self, receive_count: int = 0) -> None:
        self.calls: list[Any] = []
        self.received: list[Any] = []
        self._receive_count = receive_count

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.calls.append((scope, receive, send))
        for _ in range(self._receive_count):
            self.received.append(await receive())
        await send({"type": "http.response.start", "status": 299, "headers": []})
        await send({"type": "http.response.body", "body": b"the app's"})


# --- other requests ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"path": "/"},
        {"path": PATH + "/"},
        {"path": "/" + PATH},
        {"path": "/webhooks//karla"},
        {"path": "/x" + PATH},
        {"path": PATH.upper()},
        {"path": PATH, "raw_path": b"/webhooks%2Fkarla"},
        {"path": PATH, "raw_path": b"/webhooks%2fkarla?x=y"},
        {"path": PATH, "raw_path": b"http://shop/webhooks%2fkarla"},
        {"path": PATH, "root_path": PATH},
        {"path": "/shop" + PATH, "root_path": "/sh"},
        {"path": "/shop" + PATH, "root_path": "/other"},
        {"type": "websocket"},
        {"type": "lifespan"},
    ],
)
def test_anything_else_goes_to_the_app_untouched(changes: dict[str, Any]) -> None:
    app = Recorder()
    scope = {**asgi_scope(signed_knock()), **changes}
    before = dict(scope)

    async def receive() -> Any:
        raise AssertionError("the middleware received")

    async def send(message: Any) -> None:
        """Take it."""

    asyncio.run(KarlaMiddleware(app, Receiver(SECRET))(scope, receive, send))
    assert len(app.calls) == 1
    assert all(
        given is passed for given, passed in zip(app.calls[0], (scope, receive, send), strict=True)
    )
    assert scope == before


@pytest.mark.parametrize(
    "changes",
    [
        {"raw_path": PATH.encode()},
        {"raw_path": None},
        {"raw_path": PATH.encode() + b"?next=%2F"},
        {"raw_path": b"/web%68ooks/karla"},
        {"raw_path": b"http://a%2fb/webhooks/karla"},
        {"path": "/shop" + PATH, "root_path": "/shop"},
        {"path": PATH, "root_path": "/shop"},
    ],
)
def test_the_path_is_matched_below_wherever_the_app_is_mounted(changes: dict[str, Any]) -> None:
    events: list[Event] = []
    app = KarlaMiddleware(Recorder(), receiver_into(events))
    sent = run_asgi(app, {**asgi_scope(signed_knock()), **changes}, messages(BODY))

    assert status_of(sent) == 200
    assert len(events) == 1


def test_a_path_of_any_letters_can_be_chosen() -> None:
    events: list[Event] = []
    app = KarlaMiddleware(Recorder(), receiver_into(events), path="/größe/karla")
    sent = run_asgi(app, {**asgi_scope(signed_knock()), "path": "/größe/karla"}, messages(BODY))

    assert status_of(sent) == 200
    assert len(events) == 1


def shop(events: list[Event]) -> Starlette:
    async def stream(request: Request) -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            for number in range(5):
                yield b"part %d;" % number

        return StreamingResponse(parts(), headers={"x-shop": "yes"})

    async def echo(request: Request) -> JSONResponse:
        return JSONResponse({"length": len(await request.body())})

    async def chat(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text((await websocket.receive_text()).upper())
        await websocket.close()

    return Starlette(
        routes=[
            Route("/stream", stream),
            Route("/echo", echo, methods=["POST"]),
            WebSocketRoute(PATH, chat),
            Mount("/hooks", KarlaApp(receiver_into(events))),
        ]
    )


def test_streams_bodies_websockets_and_lifespan_are_as_without_the_middleware() -> None:
    events: list[Event] = []
    bare = shop(events)
    with (
        TestClient(bare) as alone,
        TestClient(KarlaMiddleware(shop(events), Receiver(SECRET))) as ours,
    ):
        for client in (alone, ours):
            with client.websocket_connect(PATH) as websocket:
                websocket.send_text("hello")
                assert websocket.receive_text() == "HELLO"
        responses = [
            (response.status_code, sorted(response.headers.items()), response.content)
            for client in (alone, ours)
            for response in (
                client.get("/stream"),
                client.post("/echo", content=b"x" * 100_000),
                client.get("/missing"),
            )
        ]
    assert responses[:3] == responses[3:]


def test_the_app_can_be_mounted_in_another() -> None:
    events: list[Event] = []
    with TestClient(shop(events)) as client:
        headers = signature_header()
        response = client.post("/hooks/karla", content=BODY, headers=headers)

    assert response.json() == {"status": "success"}
    assert len(events) == 1


def test_an_unknown_scope_is_refused_as_asgi_says() -> None:
    with pytest.raises(NotImplementedError, match="'smoke'"):
        run_asgi(KarlaApp(Receiver(SECRET)), {"type": "smoke"}, iter([]))


# --- forwarding ----------------------------------------------------------------------------------


def test_a_verified_delivery_is_forwarded_with_its_event_and_its_body_unread() -> None:
    app = Recorder(receive_count=4)
    chunks = [BODY[:100], b"", BODY[100:]]
    scope = asgi_scope(signed_knock())
    sent = run_asgi(
        KarlaMiddleware(app, Receiver(SECRET), PATH, forward=True), scope, messages(*chunks)
    )

    assert scope["karla.event"].shipment_id == "2f3f4a0e-9b5c-4c2b-8a71-5f0c9f1f6a10"
    whole = {"type": "http.request", "body": BODY, "more_body": False}
    assert app.received == [whole, *[{"type": "http.disconnect"}] * 3]
    assert (status_of(sent), sent[1]["body"], len(sent)) == (299, b"the app's", 2)


@pytest.mark.parametrize(
    ("path", "root"),
    [
        (PATH, ""),
        (PATH + "/x", ""),
        ("/shop" + PATH, "/shop"),
        (PATH, "/shop"),  # from a server whose path does not begin with root_path
        ("/shop/karla", "/shop/webhooks"),
    ],
)
def test_a_path_that_may_lead_to_the_view_is_verified(path: str, root: str) -> None:
    app = Recorder()
    middleware = KarlaMiddleware(app, Receiver(SECRET), PATH, forward=True)
    forged = signed_knock(secret="other")
    changes = {"path": path, "root_path": root}

    assert status_of(run_asgi(middleware, {**asgi_scope(forged), **changes}, messages(BODY))) == 401
    assert app.calls == []
    genuine = {**asgi_scope(signed_knock()), **changes}
    assert status_of(run_asgi(middleware, genuine, messages(BODY))) == 299
    assert "karla.event" in app.calls[0][0]


@pytest.mark.parametrize(
    ("path", "root"),
    [("/", ""), ("/webhooks", ""), ("/\udc80", ""), ("/webhooks-karla/tea", "/webhooks-karla")],
)
def test_other_paths_are_forwarded_untouched(path: str, root: str) -> None:
    app = Recorder()
    scope = {**asgi_scope(signed_knock()), "path": path, "root_path": root}
    before = dict(scope)
    run_asgi(KarlaMiddleware(app, Receiver("other"), PATH, forward=True), scope, messages(BODY))

    assert app.calls[0][0] is scope
    assert scope == before


async def guarded(scope: Any, receive: Any, send: Any) -> None:
    """Answer 200 with an event, and what the guard's error says without one."""
    try:
        status = 200 if require_event(scope).event_group else 500
    except SignatureError as error:
        assert "KarlaMiddleware" in str(error)
        status = error.status or 500
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def test_a_view_can_insist_on_its_event() -> None:
    scope = asgi_scope(signed_knock())
    assert status_of(run_asgi(guarded, scope, messages(BODY))) == 401
    app = KarlaMiddleware(guarded, Receiver(SECRET), PATH, forward=True)
    assert status_of(run_asgi(app, scope, messages(BODY))) == 200


@pytest.mark.parametrize("chunk", [b"", b"ab"])
def test_a_body_in_countless_messages_is_kept_once(chunk: bytes) -> None:
    def parts() -> Iterator[dict[str, Any]]:
        for _ in range(50_000):  # bytes(bytearray()): each an object of its own
            yield {"type": "http.request", "body": bytes(bytearray(chunk)), "more_body": True}

    last = {"type": "http.request", "body": b"", "more_body": False}
    body = chunk * 50_000
    knocking = signed_knock(body)
    app = Recorder()
    tracemalloc.start()
    try:
        sent = run_asgi(
            KarlaMiddleware(app, Receiver(SECRET), PATH, forward=True),
            asgi_scope(knocking),
            itertools.chain(parts(), [last]),
        )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert status_of(sent) == 400  # genuine, and not JSON
    assert peak < 1_000_000


@pytest.mark.parametrize("answer", [None, 202, 302, 404, 503])
def test_an_answer_of_the_app_that_acknowledges_nothing_is_logged(answer: int | None) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if answer is not None:
            await send({"type": "http.response.start", "status": answer, "headers": []})
            await send({"type": "http.response.body"})

    keeper = Keeper()
    with logged_reasons() as reasons:
        sent = run_asgi(
            KarlaMiddleware(app, Receiver(SECRET, observer=keeper), PATH, forward=True),
            asgi_scope(signed_knock()),
            messages(BODY),
        )
    assert status_of(sent) == (answer or 500)
    assert [seen.status for seen in keeper.told] == [answer or 500]
    assert reasons == ([] if answer == 202 else ["handler_error"])


def test_a_client_that_left_before_the_answer_is_no_error() -> None:
    async def send(message: Any) -> None:
        raise BrokenPipeError

    app = KarlaApp(Receiver(SECRET))
    received = iter(messages(BODY))

    async def receive() -> Any:
        return next(received)

    asyncio.run(app(asgi_scope(signed_knock()), receive, send))


def test_a_refused_delivery_is_answered_and_never_forwarded() -> None:
    app = Recorder()
    forged = signed_knock(secret="other")
    sent = run_asgi(
        KarlaMiddleware(app, Receiver(SECRET), PATH, forward=True),
        asgi_scope(forged),
        messages(BODY),
    )

    assert status_of(sent) == 401
    assert app.calls == []


def test_handlers_run_before_a_delivery_is_forwarded_and_their_error_keeps_it_back() -> None:
    receiver = Receiver(SECRET)
    calls: list[str] = []

    @receiver.on("*")
    def handler(event: Event) -> None:
        calls.append("handler")
        if len(calls) > 1:
            raise OSError

    app = KarlaMiddleware(Recorder(), receiver, PATH, forward=True)
    statuses = [
        status_of(run_asgi(app, asgi_scope(signed_knock()), messages(BODY))) for _ in range(2)
    ]
    assert statuses == [299, 500]


def test_a_client_that_left_before_its_body_ended_gets_no_answer_and_reaches_no_app() -> None:
    app = Recorder()
    middleware = KarlaMiddleware(app, Receiver(SECRET), PATH, forward=True)
    half = {"type": "http.request", "body": BODY[:9], "more_body": True}
    sent = run_asgi(
        middleware, asgi_scope(signed_knock()), iter([half, {"type": "http.disconnect"}])
    )
    assert (sent, app.calls) == ([], [])


@pytest.mark.parametrize(
    ("error", "status"), [(ZeroDivisionError(), 500), (RetryLater(), 503), (Discard("no"), 200)]
)
def test_what_the_app_behind_raises_is_answered_as_if_a_handler_had(
    error: Exception, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise error

    app = KarlaMiddleware(broken, Receiver(SECRET), PATH, forward=True)
    assert status_of(run_asgi(app, asgi_scope(signed_knock()), messages(BODY))) == status
    assert ("Traceback" in caplog.text) is (status == 500)


async def failing_stream(request: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        yield b"one"
        raise ZeroDivisionError

    return StreamingResponse(parts())


async def failing_task(request: Request) -> Response:
    def task() -> None:
        raise ZeroDivisionError

    return Response("ok", background=BackgroundTask(task))


@pytest.mark.parametrize("view", [failing_stream, failing_task])
def test_an_app_that_fails_after_it_has_answered_is_no_success(view: Any) -> None:
    shop = Starlette(routes=[Route(PATH, view, methods=["POST"])])
    app = KarlaMiddleware(shop, Receiver(SECRET), PATH, forward=True)
    with logged_reasons() as reasons:
        sent = run_asgi(app, asgi_scope(signed_knock()), messages(BODY))
    assert [status_of(sent), sent[1]["body"]] == [500, REFUSALS[Reason.HANDLER_ERROR].body]
    assert (len(sent), reasons) == (2, ["handler_error"])


def test_what_an_app_sends_is_sent_in_order_when_it_has_returned() -> None:
    parts = [
        {"type": "http.response.start", "status": 200, "headers": [], "trailers": True},
        {"type": "http.response.body", "body": b"one", "more_body": True},
        {"type": "http.response.body", "body": b"two"},
        {"type": "http.response.trailers", "headers": [(b"x-shop", b"yes")]},
    ]
    sent: list[Any] = []

    async def shop(scope: Any, receive: Any, send: Any) -> None:
        for part in parts:
            await send(part)
        assert sent == []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return next(messages(BODY))

    app = KarlaMiddleware(shop, Receiver(SECRET), PATH, forward=True)
    asyncio.run(app(asgi_scope(signed_knock()), receive, send))
    assert sent == parts


def test_what_an_app_sends_may_be_used_again_by_it() -> None:
    async def shop(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"x-shop", b"yes")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        headers.clear()
        buffer = bytearray(b"a")
        message: dict[str, Any] = {
            "type": "http.response.body",
            "body": buffer,
            "more_body": True,
        }
        await send(message)
        buffer[:] = b"b"
        await send(message)
        message.update(body=b"", more_body=False)
        await send(message)

    sent = run_asgi(
        KarlaMiddleware(shop, Receiver(SECRET), PATH, forward=True),
        asgi_scope(signed_knock()),
        messages(BODY),
    )
    assert sent[0]["headers"] == [(b"x-shop", b"yes")]
    assert [part["body"] for part in sent[1:]] == [b"a", b"b", b""]


def test_an_app_that_has_answered_is_told_that_nobody_listens_any_more() -> None:
    async def shop(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})
        while (await receive())["type"] != "http.disconnect":
            raise AssertionError

    endless = ({"type": "http.request", "body": BODY, "more_body": False} for _ in range(9))
    app = KarlaMiddleware(shop, Receiver(SECRET), PATH, forward=True)
    assert status_of(run_asgi(app, asgi_scope(signed_knock()), endless)) == 200


def behind_a_server(shop: Any, *later: Any) -> list[Any]:
    """Run a forwarded app; the server says what comes later, and waits for the answer then."""

    async def run() -> list[Any]:
        parts = iter([*messages(BODY), *later])
        sent: list[Any] = []

        async def receive() -> Any:
            part = next(parts, None)
            return part or await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        app = KarlaMiddleware(shop, Receiver(SECRET), PATH, forward=True)
        await asyncio.wait_for(app(asgi_scope(signed_knock()), receive, send), PATIENCE_SECONDS)
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return sent

    return asyncio.run(run())


@pytest.mark.parametrize("later", [[], list(messages(BODY))], ids=["nothing", "the body again"])
def test_an_app_that_watches_for_the_end_while_it_answers_comes_to_it(later: list[Any]) -> None:
    async def shop(scope: Any, receive: Any, send: Any) -> None:
        async def watch() -> list[str]:
            kinds = [(await receive())["type"]]
            while kinds[-1] != "http.disconnect":
                kinds.append((await receive())["type"])
            return kinds

        watching = asyncio.create_task(watch())
        for _ in range(9):
            await asyncio.sleep(0)
        assert not watching.done()
        await Response("ok")(scope, receive, send)
        assert await watching == ["http.request", "http.disconnect"]

    assert status_of(behind_a_server(shop, *later)) == 200


@pytest.mark.parametrize("is_gone", [False, True])
def test_an_app_can_tell_whether_the_client_is_gone_before_it_answers(is_gone: bool) -> None:
    seen: list[bool] = []

    async def shop(scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        await asyncio.sleep(0)
        assert await request.body() == BODY
        seen.append(await request.is_disconnected())
        await Response("ok")(scope, receive, send)

    behind_a_server(shop, *[{"type": "http.disconnect"}] * is_gone)
    assert seen == [is_gone]


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [{"type": "http.response.start", "status": 200, "headers": []}],
        [
            {"type": "http.response.start", "status": 200, "headers": []},
            {"type": "http.response.body", "body": b"half", "more_body": True},
        ],
        [{"type": "http.response.body", "body": b"no status"}],
    ],
    ids=["nothing", "no body", "half a body", "no status"],
)
def test_an_answer_that_is_not_complete_is_no_success(parts: list[dict[str, Any]]) -> None:
    async def shop(scope: Any, receive: Any, send: Any) -> None:
        for part in parts:
            await send(part)

    app = KarlaMiddleware(shop, Receiver(SECRET), PATH, forward=True)
    with logged_reasons() as reasons:
        sent = run_asgi(app, asgi_scope(signed_knock()), messages(BODY))
    assert [status_of(sent), len(sent), reasons] == [500, 2, ["handler_error"]]


def test_a_file_is_sent_as_a_body_since_it_may_be_gone_when_the_app_has_returned(
    tmp_path: Path,
) -> None:
    file = tmp_path / "answer"
    file.write_bytes(b"from a file")

    async def view(request: Request) -> Response:
        return FileResponse(file, background=BackgroundTask(file.unlink))

    shop = Starlette(routes=[Route(PATH, view, methods=["POST"])])
    extensions: dict[str, Any] = {"http.response.pathsend": {}, "http.response.debug": {}}
    scope = {**asgi_scope(signed_knock()), "extensions": extensions}
    app = KarlaMiddleware(shop, Receiver(SECRET), PATH, forward=True)
    sent = run_asgi(app, scope, messages(BODY))
    assert b"".join(part.get("body", b"") for part in sent) == b"from a file"
    assert list(scope["extensions"]) == ["http.response.debug"]
    assert len(extensions) == 2


def test_forwarding_wants_every_event() -> None:
    receiver = Receiver(SECRET)
    KarlaMiddleware(Recorder(), receiver)
    assert receiver.enabled_events == []
    KarlaMiddleware(Recorder(), receiver, PATH, forward=True)
    assert receiver.enabled_events == ["*"]


class StoppableInbox:
    """An inbox that notes when it is stopped."""

    key: Any = None

    def __init__(self, order: list[str]) -> None:
        self._order = order

    def attach(self, handlers: object, verifier: object, observer: object) -> None:
        """Have no use for it."""

    def put(self, delivery: object) -> Novelty:
        return Novelty.NEW

    async def put_async(self, delivery: object) -> Novelty:
        return Novelty.NEW

    def stop(self) -> bool:
        self._order.append("inbox")
        return True


@pytest.mark.parametrize("is_wrapped", [False, True])
def test_an_inbox_finishes_before_the_app_learns_that_the_server_stops(is_wrapped: bool) -> None:
    order: list[str] = []
    receiver = Receiver(SECRET, inbox=StoppableInbox(order))

    async def shop(scope: Any, receive: Any, send: Any) -> None:
        order.append((await receive())["type"])
        order.append((await receive())["type"])

    app: Any = KarlaMiddleware(shop, receiver) if is_wrapped else KarlaApp(receiver)
    events = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    run_asgi(app, {"type": "lifespan"}, events)
    startup, shutdown = (["lifespan.startup"], ["lifespan.shutdown"]) if is_wrapped else ([], [])
    assert order == [*startup, "inbox", *shutdown]


# --- wiring --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        ((None, Receiver(SECRET)), "must be callable"),
        ((Receiver(SECRET), Recorder()), "the receiver comes second"),
        ((wsgi_not_found, Receiver(SECRET)), "an ASGI app is called with scope, receive, send"),
        ((Recorder(), SECRET), "expected a Receiver"),
        ((Recorder(), Receiver(SECRET), "webhooks"), "starts with '/'"),
        ((Recorder(), Receiver(SECRET), "/a", "false"), "forward must be True or False"),
        ((Recorder(), Receiver(SECRET), "/a%2Fb"), "compared decoded"),
        ((Recorder(), Receiver(SECRET), "/a?b"), "compared decoded"),
        ((Recorder(), Receiver(SECRET), "/a b"), "compared decoded"),
        ((Recorder(), Receiver(SECRET), b"/a"), "starts with '/'"),
        ((Recorder(), Receiver(SECRET), None, True), "forward=True needs the view's path"),
        ((Recorder(), Receiver(SECRET), "/a\0"), "compared decoded"),
        ((Recorder(), Receiver(SECRET), "/\udc80"), "compared decoded"),
        ((Recorder(), Receiver(SECRET), "/a\\b"), "compared decoded"),
        ((Recorder(), Receiver(SECRET), "//a"), "an empty part"),
        ((Recorder(), Receiver(SECRET), "/a/../b"), "which clients resolve"),
        ((Recorder(), Receiver(SECRET), "/./b"), "which clients resolve"),
    ],
)
def test_a_middleware_that_can_never_work_is_refused(arguments: Any, remedy: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        KarlaMiddleware(*arguments)
    assert remedy in str(refusal.value)


def test_an_app_needs_a_receiver() -> None:
    with pytest.raises(ConfigurationError, match="expected a Receiver"):
        KarlaApp(SECRET)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="starts with '/'"):
        KarlaApp(Receiver(SECRET), health="healthz")


@pytest.mark.parametrize(
    ("health", "method", "path", "status"),
    [
        ("/healthz", "GET", "/healthz", 200),
        ("/healthz", "HEAD", "/hooks/healthz", 200),
        ("/healthz", "GET", "/healthz/", 405),
        ("/healthz", "POST", "/healthz", 401),
        ("/up", "GET", "/up", 200),
        ("/up", "GET", "/healthz", 405),
        (None, "GET", "/healthz", 405),
    ],
)
def test_the_app_alone_answers_a_health_check(
    health: str | None, method: str, path: str, status: int
) -> None:
    app = KarlaApp(Receiver("other-secret"), health=health)
    root = "/hooks" if path.startswith("/hooks") else ""
    scope = {**asgi_scope(signed_knock(method=method), path), "root_path": root}
    sent = run_asgi(app, scope, messages(BODY))
    assert status_of(sent) == status
    if status == 200:
        assert sent[1]["body"] == (b"" if method == "HEAD" else b'{"status":"success"}')


@pytest.mark.parametrize(
    ("method", "path", "is_told"),
    [
        ("POST", PATH + "/", True),
        ("POST", "/" + PATH, True),
        ("POST", "/shop" + PATH + "/", True),
        ("GET", PATH + "/", False),
        ("POST", PATH + "/x", False),
        ("POST", PATH, False),
    ],
)
def test_a_post_that_misses_the_path_by_a_slash_is_told_in_the_log(
    method: str, path: str, is_told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app = KarlaMiddleware(Recorder(), Receiver(SECRET), PATH)
    root = "/shop" if path.startswith("/shop") else ""
    scope = {**asgi_scope(signed_knock(method=method), path), "root_path": root}
    run_asgi(app, scope, messages(BODY))
    assert ("the webhook's path is '/webhooks/karla', and slashes count" in caplog.text) is is_told
