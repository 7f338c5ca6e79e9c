"""Starlette: endpoints that receive events. Needs the extra `starlette`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias, cast

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.requests import Request as StarletteRequest
from starlette.responses import Response as StarletteResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from karla_receiver import Reason, Receiver, Request, Response, views
from karla_receiver.adapters.asgi import KarlaApp
from karla_receiver.request import REFUSALS
from karla_receiver.views import KeptBody

__all__ = [
    "Answering",
    "StarletteView",
    "View",
    "endpoint",
    "webhook",
]

# Called with the request and the event.
View: TypeAlias = Callable[[StarletteRequest, Any], Any]


def webhook(*secrets: str | bytes | Receiver) -> Callable[[View], StarletteView]:
    """Make the decorated view receive events: it is called with the request and each event.

    secrets: one webhook secret; or several, while one replaces the other; or a Receiver, whose
    handlers are called before the view.
    What comes out is an endpoint for Route(path, endpoint). It answers every method itself.
    The view may be sync, and runs in a thread then. What it returns is the response; None is the
    documented success. An HTTPException goes to Starlette as usual; after any other exception
    the answer is 500, and the exception is logged.
    Raises ConfigurationError for unusable secrets, and for a view that takes something else.
    """
    try:
        return views.decorator(secrets, StarletteView, "request", "event")
    finally:
        del secrets  # so that no error report with local variables shows them


def endpoint(receiver: Receiver) -> ASGIApp:
    """Make an endpoint for Route(path, endpoint), of a receiver whose handlers do everything.

    The path may capture anything. It answers every method itself.
    Raises ConfigurationError if receiver is not a Receiver.
    """
    return Answering(KarlaApp(receiver, health=None))


class Answering:
    """An ASGI app that answers also if the client is gone: Starlette's middleware insists."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        is_answered = False

        async def send_and_note(message: Message) -> None:
            nonlocal is_answered
            is_answered = True
            await send(message)

        await self._app(scope, receive, send_and_note)
        if not is_answered:
            await _to_response(REFUSALS[Reason.BODY_INCOMPLETE])(scope, receive, send)


class StarletteView:
    """A view that receives events, as an ASGI app."""

    def __init__(self, receiver: Receiver, view: View) -> None:
        self._receiver = receiver
        self._view = view

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request = StarletteRequest(scope, receive)
        body = _kept_body(request)
        view = partial(self._view, _read_again(request, body))
        answer = await views.receive_async(
            self._receiver, _to_request(request, body), view, _status_of, (HTTPException,)
        )
        await _to_response(answer)(scope, receive, send)


def _to_request(request: StarletteRequest, body: KeptBody) -> Request:
    """Make a Request whose body is read when the receiver asks for it."""
    scheme: str = request.scope.get("scheme", "http")
    return Request(request.method, request.headers.raw, body, scheme)


def _to_response(answer: object) -> StarletteResponse:
    """Make Starlette's response of a receiver's; return a view's own as it is."""
    if isinstance(answer, Response):
        return StarletteResponse(answer.body, answer.status, dict(answer.headers))
    return cast("StarletteResponse", answer)


def _status_of(answer: StarletteResponse | Exception) -> int:
    """Return the status of a response, or of an exception that the app answers with one.

    Raises TypeError for a streaming response.
    """
    views.refuse_stream(hasattr(answer, "body_iterator"))  # a StreamingResponse, or one like it
    status: int = getattr(answer, "status_code", 500)
    return status


def _kept_body(request: StarletteRequest) -> KeptBody:
    """Return a request's body, to be read by a receiver and then, with `_read_again`, by others."""
    return KeptBody(
        request.stream(),
        (ClientDisconnect,),
        lambda: request.headers.get("content-length", "0") != "0",
        "request.stream() in a middleware",
    )


def _read_again(request: StarletteRequest, body: KeptBody) -> StarletteRequest:
    """Return the request with what has been read of its body unread."""
    is_read = False

    async def receive() -> Message:
        nonlocal is_read
        if is_read:
            return await request.receive()
        is_read = True
        return {"type": "http.request", "body": body.joined, "more_body": False}

    return StarletteRequest(request.scope, receive)
