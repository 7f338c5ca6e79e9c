"""ASGI: a middleware around any app, and an app of its own. Needs no framework.

Sync handlers run in threads; async ones on the server's asyncio event loop.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from karla_receiver import Event, Receiver, Request, Response
from karla_receiver.errors import Reason, RequestError
from karla_receiver.mounting import DEFAULT_PATH, below_root, checked_path, has_encoded_slash
from karla_receiver.wiring import check_app, check_receiver

__all__ = ["ASGIApp", "KarlaApp", "KarlaMiddleware", "Message", "Receive", "Scope", "Send"]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


class KarlaMiddleware:
    """Receives deliveries at one path; hands every other request, untouched, to the app.

    app: the ASGI app to wrap.
    receiver: verifies, and calls its handlers.
    path: compared exactly, below the root_path that the middleware is mounted at.
    forward: False: the receiver answers. True: the receiver answers what it refuses; the rest
    goes on to the app, body unread, with the event in scope["karla.event"], and the app answers.
    Raises ConfigurationError for arguments that can never work.
    """

    def __init__(
        self,
        app: ASGIApp,
        receiver: Receiver,
        path: str = DEFAULT_PATH,
        forward: bool = False,
    ) -> None:
        check_app(app, "an ASGI app", "scope", "receive", "send")
        self._app = app
        self._receiver = check_receiver(receiver)
        self._path = checked_path(path)
        self._forward = forward
        if forward:
            receiver.want("*")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] != "http" or not self._is_ours(scope):
            await self._app(scope, receive, send)
        elif self._forward:
            await self._serve_and_forward(scope, receive, send)
        else:
            await _serve(self._receiver, scope, receive, send)

    def _is_ours(self, scope: Scope) -> bool:
        path: str = scope["path"]
        return (
            path.endswith(self._path)
            and below_root(path, scope.get("root_path", "")) == self._path
            and not has_encoded_slash(scope.get("raw_path") or b"")
        )

    async def _serve_and_forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = _Body(receive, keep=True)
        error: Exception | None = None
        is_forwarded = False

        async def forward(event: Event) -> None:
            nonlocal error, is_forwarded
            is_forwarded = True
            scope["karla.event"] = event
            try:
                await self._app(scope, body.again, send)
            except Exception as raised:
                error = raised
                raise

        response = await _respond(self._receiver, scope, body, forward)
        if error is not None:
            raise error
        if response is not None and not is_forwarded:
            await _send(response, send)


class KarlaApp:
    """Receives a delivery with every request: to be served alone, or mounted at a path.

    receiver: verifies, and calls its handlers.
    Raises ConfigurationError if receiver is not a Receiver.
    """

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = check_receiver(receiver)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "http":
            await _serve(self._receiver, scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close"})  # before accepting: the server answers 403
        elif scope["type"] == "lifespan":
            await _live(receive, send)
        else:
            raise NotImplementedError(f"ASGI scope {scope['type']!a}")


class _Body:
    """The chunks of a request's body, as it is received."""

    def __init__(self, receive: Receive, *, keep: bool = False) -> None:
        self._receive = receive
        self._kept: list[Message] | None = [] if keep else None
        self._is_complete = False

    def __aiter__(self) -> _Body:
        return self

    async def __anext__(self) -> bytes:
        if self._is_complete:
            raise StopAsyncIteration
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise RequestError(Reason.CLIENT_DISCONNECTED)
        if self._kept is not None:
            self._kept.append(message)
        self._is_complete = not message.get("more_body", False)
        chunk: bytes = message.get("body", b"")
        return chunk

    async def again(self) -> Message:
        """Receive for the app behind: the same messages, then what comes after them."""
        if self._kept:
            return self._kept.pop(0)
        return await self._receive()


async def _serve(receiver: Receiver, scope: Scope, receive: Receive, send: Send) -> None:
    response = await _respond(receiver, scope, _Body(receive), None)
    if response is not None:
        await _send(response, send)


async def _respond(
    receiver: Receiver,
    scope: Scope,
    body: _Body,
    view: Callable[[Event], Awaitable[None]] | None,
) -> Response | None:
    try:
        return await receiver.receive_async(_to_request(scope, body), view=view)
    except RequestError:
        return None  # the client is gone


def _to_request(scope: Scope, body: _Body) -> Request:
    return Request(scope["method"], scope["headers"], body, scope.get("scheme", "http"))


async def _send(response: Response, send: Send) -> None:
    headers = [(name.encode(), value.encode()) for name, value in response.headers]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


async def _live(receive: Receive, send: Send) -> None:
    while (await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})
