"""ASGI: a middleware around any app, and an app of its own. Needs no framework.

Sync handlers run in threads; async ones on the server's asyncio event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from karla_receiver import Event, Receiver, Request, Response
from karla_receiver.errors import Reason, RequestError
from karla_receiver.handlers.calling import is_success
from karla_receiver.request import BodyBuffer
from karla_receiver.views import check_app, check_receiver
from karla_receiver.views.paths import (
    EVENT,
    HEALTH_PATH,
    HealthCheck,
    below_root,
    require_event,
    webhook_path,
)

__all__ = [
    "ASGIApp",
    "KarlaApp",
    "KarlaMiddleware",
    "Message",
    "Receive",
    "Scope",
    "Send",
    "forward",
    "require_event",
    "stop_worker",
]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
# Of whatever types: Starlette's and Quart's for the three do not agree.
ASGIApp: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]


class KarlaMiddleware:
    """Receives deliveries at one path; hands every other request, untouched, to the app.

    app: the ASGI app to wrap.
    receiver: verifies, and calls its handlers.
    path: "/webhooks/karla" unless given. Compared exactly, below the root_path that the middleware
    is mounted at.
    forward: False: the receiver answers. True: the receiver answers what it refuses; the rest
    goes on to the app, body unread, with the event in scope["karla.event"], and the app answers.
    Its answer is sent when the app has returned; if it raises, the answer is 500. The path must
    be given, and every path that holds its letters and digits is verified.
    Raises ConfigurationError for arguments that can never work.
    """

    def __init__(
        self, app: ASGIApp, receiver: Receiver, path: str | None = None, forward: bool = False
    ) -> None:
        check_app(app, "an ASGI app", "scope", "receive", "send")
        self._app = app
        self._receiver = check_receiver(receiver)
        self._path = webhook_path(path, receiver, forward)
        self._is_forwarding = forward

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "lifespan" and self._receiver.inbox is not None:
            self._receiver.note_loop()
            await self._app(scope, _stopping(self._receiver, receive), send)
        elif scope["type"] != "http" or not self._is_ours(scope):
            await self._app(scope, receive, send)
        elif self._is_forwarding:
            await forward(self._app, self._receiver, scope, receive, send)
        else:
            await _serve(self._receiver, scope, receive, send)

    def _is_ours(self, scope: Scope) -> bool:
        root, target = scope.get("root_path") or "", scope.get("raw_path") or b""
        return self._path.matches(scope["method"], _path(scope), root, target)


async def forward(
    app: ASGIApp, receiver: Receiver, scope: Scope, receive: Receive, send: Send
) -> None:
    """Verify one request, and hand it on to app, as `KarlaMiddleware` does with forward=True.

    For adapters, whose app is the one that serves a view. `Receiver.want` comes first, once.
    """
    await _Forwarding(app, receive).serve(receiver, scope, send)


class _Forwarding:
    """One verified delivery on its way through the app, whose answer is kept until it returns."""

    def __init__(self, app: ASGIApp, receive: Receive) -> None:
        self._app = app
        self._receive = receive
        self._body = _Body(receive, keep=True)
        self._answer: list[Message] = []
        self._status = 500
        self._is_answered = False
        self._is_over = asyncio.Event()  # answered, or the client is gone

    async def serve(self, receiver: Receiver, scope: Scope, send: Send) -> None:
        async def view(event: Event) -> int:
            scope[EVENT] = event
            _drop_extensions(scope)
            return await self._call(scope)

        try:
            response = await receiver.receive_async(_request(scope, self._body), view=view)
        except RequestError:
            return  # the client is gone
        # Unless what is around the app has failed after it, or has discarded the event.
        is_the_apps = self._answer and is_success(self._status) == is_success(response.status)
        await _send(self._answer if is_the_apps else _messages(response), send)

    async def _call(self, scope: Scope) -> int:
        """Have the app answer, and return its status: 500 if the answer has no end."""
        watching = asyncio.ensure_future(self._watch())
        try:
            await self._app(scope, self._receive_again, self._keep)
        except Exception:
            self._answer.clear()
            raise
        finally:
            watching.cancel()
        for message in self._answer if self._is_answered else []:
            if message["type"] == "http.response.start":
                self._status = message["status"]
                return self._status
        self._answer.clear()
        return self._status

    async def _watch(self) -> None:
        if (await self._receive())["type"] == "http.disconnect":
            self._is_over.set()

    async def _receive_again(self) -> Message:
        body = None if self._is_answered else self._body.taken()
        if body is not None:
            return {"type": "http.request", "body": body, "more_body": False}
        # What servers say when the client is gone, or has the answer: this one waits for it.
        await self._is_over.wait()
        return {"type": "http.disconnect"}

    async def _keep(self, message: Message) -> None:
        # Copied, since an app may use the message, and what is in it, again.
        kept = dict(message)
        if "headers" in kept:
            kept["headers"] = list(kept["headers"])
        if kept["type"] == "http.response.body":
            kept["body"] = bytes(kept.get("body", b""))
            if not kept.get("more_body", False):
                self._is_answered = True
                self._is_over.set()
        self._answer.append(kept)


def _drop_extensions(scope: Scope) -> None:
    # What is sent by these is a file, which may be gone when the app has returned.
    extensions: dict[str, Any] = scope.get("extensions") or {}
    by_file = {"http.response.pathsend", "http.response.zerocopysend"}
    if by_file & extensions.keys():
        scope["extensions"] = {
            name: value for name, value in extensions.items() if name not in by_file
        }


class KarlaApp:
    """Receives a delivery with every request: to be served alone, or mounted at a path.

    receiver: verifies, and calls its handlers.
    health: a GET or HEAD of this path, below the root_path that the app is mounted at, is
    answered 200, for a load balancer to see that the server is up. None: there is no such path.
    Raises ConfigurationError for arguments that can never work.
    """

    def __init__(self, receiver: Receiver, health: str | None = HEALTH_PATH) -> None:
        self._receiver = check_receiver(receiver)
        self._health = HealthCheck(health)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "http":
            health = self._health.answer(scope["method"], _path(scope))
            if health is not None:
                await _send(_messages(health), send)
            else:
                await _serve(self._receiver, scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close"})  # before accepting: the server answers 403
        elif scope["type"] == "lifespan":
            self._receiver.note_loop()
            await _live(_stopping(self._receiver, receive), send)
        else:
            raise NotImplementedError(f"ASGI scope {scope['type']!a}")


def _path(scope: Scope) -> str:
    return below_root(scope["path"], scope.get("root_path") or "")


class _Body:
    """The chunks of a request's body, as it is received."""

    def __init__(self, receive: Receive, *, keep: bool = False) -> None:
        self._receive = receive
        # One message for the app behind, not those received: of them there may be any number.
        self._kept = BodyBuffer() if keep else None
        self._is_complete = False

    def __aiter__(self) -> _Body:
        return self

    async def __anext__(self) -> bytes:
        if self._is_complete:
            raise StopAsyncIteration
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise RequestError(Reason.CLIENT_DISCONNECTED)
        self._is_complete = not message.get("more_body", False)
        chunk: bytes = message.get("body", b"")
        if self._kept is not None:
            self._kept.add(chunk)
        return chunk

    def taken(self) -> bytes | None:
        """Return the whole body, once, for the app behind; None after that."""
        if self._kept is None:
            return None
        body, self._kept = bytes(self._kept.body), None
        return body


async def _serve(receiver: Receiver, scope: Scope, receive: Receive, send: Send) -> None:
    try:
        response = await receiver.receive_async(_request(scope, _Body(receive)))
    except RequestError:
        return  # the client is gone
    await _send(_messages(response), send)


def _request(scope: Scope, body: _Body) -> Request:
    return Request(scope["method"], scope["headers"], body, scope.get("scheme", "http"))


def _messages(response: Response) -> list[Message]:
    headers = [(name.encode(), value.encode()) for name, value in response.headers]
    return [
        {"type": "http.response.start", "status": response.status, "headers": headers},
        {"type": "http.response.body", "body": response.body},
    ]


async def _send(messages: list[Message], send: Send) -> None:
    try:
        for message in messages:
            await send(message)
    except OSError:
        return  # what a server may raise when the client is gone (ASGI 2.4)


def _stopping(receiver: Receiver, receive: Receive) -> Receive:
    """Have the inbox's worker finish before an app learns that the server stops."""

    async def stop_first() -> Message:
        message = await receive()
        if message["type"] == "lifespan.shutdown":
            await stop_worker(receiver)
        return message

    return stop_first


async def stop_worker(receiver: Receiver) -> None:
    """Have the inbox's worker, if there is one, finish: for the end of an app's lifespan.

    Servers end the process soon after, and what is not finished then waits for its lease.
    """
    stop = getattr(receiver.inbox, "stop", None)
    if stop is not None:
        await asyncio.to_thread(stop)  # its async handlers need the event loop to finish


async def _live(receive: Receive, send: Send) -> None:
    while (await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})
