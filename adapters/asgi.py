"""ASGI: a middleware around any app, and an app of its own. Needs no framework.

Sync handlers run in threads; async ones on the server's asyncio event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from karla_receiver import Event, Receiver, Request, Response
from karla_receiver.body import BodyBuffer
from karla_receiver.errors import Reason, RequestError
from karla_receiver.handling import is_success
from karla_receiver.mounting import (
    DEFAULT_PATH,
    below_root,
    checked_path,
    has_encoded_slash,
    may_lead_to,
    path_names,
)
from karla_receiver.options import checked_bool
from karla_receiver.wiring import check_app, check_receiver

__all__ = ["ASGIApp", "KarlaApp", "KarlaMiddleware", "Message", "Receive", "Scope", "Send"]

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
    path: compared exactly, below the root_path that the middleware is mounted at.
    forward: False: the receiver answers. True: the receiver answers what it refuses; the rest
    goes on to the app, body unread, with the event in scope["karla.event"], and the app answers.
    Its answer is kept, however long, and sent when the app has returned: what it does after
    sending counts as handling, and if it raises there is no answer of success on its way. Then
    every spelling of path that the app's router might take for it is verified as well.
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
        self._names = path_names(path.encode())
        self._forward = checked_bool("forward", forward)
        if forward:
            receiver.want("*")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "lifespan" and self._receiver.inbox is not None:
            await self._app(scope, _stopping(self._receiver, receive), send)
        elif scope["type"] != "http" or not self._is_ours(scope):
            await self._app(scope, receive, send)
        elif self._forward:
            await self._serve_and_forward(scope, receive, send)
        else:
            await _serve(self._receiver, scope, receive, send)

    def _is_ours(self, scope: Scope) -> bool:
        path: str = scope["path"]
        root: str = scope.get("root_path") or ""
        is_exact = (
            path.endswith(self._path)
            and below_root(path, root) == self._path
            and not has_encoded_slash(scope.get("raw_path") or b"")
        )
        return is_exact or (
            self._forward and may_lead_to(self._names, _encoded(path), _encoded(root))
        )

    async def _serve_and_forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = _Answer()
        body = _Body(receive, keep=True)
        error: Exception | None = None
        is_forwarded = False

        async def receive_again() -> Message:
            again = None if answer.is_complete else body.taken()
            if again is not None:
                return {"type": "http.request", "body": again, "more_body": False}
            # What servers say when the client is gone, or has the answer: this one waits for it.
            await answer.is_over.wait()
            return {"type": "http.disconnect"}

        async def watch() -> None:
            if (await receive())["type"] == "http.disconnect":
                answer.is_over.set()

        async def forward(event: Event) -> int:
            nonlocal error, is_forwarded
            is_forwarded = True
            scope["karla.event"] = event
            _drop_extensions(scope)
            watching = asyncio.ensure_future(watch())
            try:
                await self._app(scope, receive_again, answer.keep)
            except Exception as raised:
                error = raised
                raise
            finally:
                watching.cancel()
            return answer.status

        response = await _respond(self._receiver, scope, body, forward)
        if error is not None:
            raise error
        if is_forwarded and _is_of_the_app(answer.status, response):
            # Of an answer that has no end, not even its status: the server says 500 then.
            await _send(answer.messages if answer.is_complete else [], send)
        elif response is not None:
            await _send(_messages(response), send)


class _Answer:
    """What an app sends, kept until it has returned."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.is_complete = False
        self.is_over = asyncio.Event()  # complete, or the client is gone

    async def keep(self, message: Message) -> None:
        # Copied, since an app may use the message, and what is in it, again.
        kept = dict(message)
        if "headers" in kept:
            kept["headers"] = list(kept["headers"])
        if kept["type"] == "http.response.body":
            kept["body"] = bytes(kept.get("body", b""))
            if not kept.get("more_body", False):
                self.is_complete = True
                self.is_over.set()
        self.messages.append(kept)

    @property
    def status(self) -> int:
        """The status of a complete answer; 500 for any other, which says nothing to a sender."""
        starts = (each for each in self.messages if each["type"] == "http.response.start")
        status: int = next(starts, {"status": 500})["status"]
        return status if self.is_complete else 500


def _is_of_the_app(status: int, response: Response | None) -> bool:
    """Return whether an app's answer stands: not if what is around it failed afterwards."""
    return response is None or is_success(status) == is_success(response.status)


def _drop_extensions(scope: Scope) -> None:
    # What is sent by these is a file, which may be gone when the app has returned.
    extensions: dict[str, Any] = scope.get("extensions") or {}
    by_file = {"http.response.pathsend", "http.response.zerocopysend"}
    if by_file & extensions.keys():
        scope["extensions"] = {
            name: value for name, value in extensions.items() if name not in by_file
        }


def _encoded(path: str) -> bytes:
    return path.encode("utf-8", "surrogatepass")


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
            await _live(_stopping(self._receiver, receive), send)
        else:
            raise NotImplementedError(f"ASGI scope {scope['type']!a}")


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
    response = await _respond(receiver, scope, _Body(receive), None)
    if response is not None:
        await _send(_messages(response), send)


async def _respond(
    receiver: Receiver,
    scope: Scope,
    body: _Body,
    view: Callable[[Event], Awaitable[int]] | None,
) -> Response | None:
    try:
        return await receiver.receive_async(_to_request(scope, body), view=view)
    except RequestError:
        return None  # the client is gone


def _to_request(scope: Scope, body: _Body) -> Request:
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
    """Have the inbox's worker finish before an app learns that the server stops.

    Servers end the process soon after, and what is not finished then waits for its lease.
    """
    stop = getattr(receiver.inbox, "stop", None)

    async def stop_first() -> Message:
        message = await receive()
        if message["type"] == "lifespan.shutdown" and stop is not None:
            await asyncio.to_thread(stop)
        return message

    return stop_first


async def _live(receive: Receive, send: Send) -> None:
    while (await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})
