"""aiohttp: a decorator that makes a handler receive events. Needs the extra `aiohttp`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, TypeAlias, cast

from aiohttp import web
from aiohttp.payload import AsyncIterablePayload

from karla_receiver import Receiver, Request, RequestError, Response, SignatureError, views
from karla_receiver.errors import Reason
from karla_receiver.views import KeptBody, check_receiver

__all__ = ["RequestHandler", "View", "endpoint", "to_request", "webhook"]

# Called with the request and the event.
View: TypeAlias = Callable[[web.Request, Any], Any]
RequestHandler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


def webhook(*secrets: str | bytes | Receiver) -> Callable[[View], RequestHandler]:
    """Make the decorated view receive events: it is called with the request and each event.

    secrets: one webhook secret; or several, while one replaces the other; or a Receiver, whose
    handlers are called before the view.
    What comes out is a handler for add_post(path, handler), or below routes.post(path).
    The view may be sync, and runs in a thread then. What it returns is the response; None is the
    documented success. An HTTPException, raised, is an answer as usual; after any other
    exception the answer is 500, and the exception is logged.
    Raises ConfigurationError for unusable secrets, and for a view that takes something else.
    """
    try:
        return views.decorator(secrets, _handler, "request", "event")
    finally:
        del secrets  # so that no error report with local variables shows them


def endpoint(receiver: Receiver) -> RequestHandler:
    """Make a handler of a receiver whose own handlers do everything.

    Raises ConfigurationError if receiver is not a Receiver.
    """
    return _handler(check_receiver(receiver), None)


def _handler(receiver: Receiver, view: View | None) -> RequestHandler:
    async def receive(request: web.Request) -> web.StreamResponse:
        bound = view and partial(view, request)
        answer = await views.receive_async(
            receiver, to_request(request), bound, _status_of, (web.HTTPException,)
        )
        if isinstance(answer, Response):
            return web.Response(body=answer.body, status=answer.status, headers=answer.headers)
        return cast("web.StreamResponse", answer)

    return receive


def to_request(request: web.Request) -> Request:
    """Make a Request whose body is read when the receiver asks for it, and kept for the view."""
    return Request(request.method, request.raw_headers, _chunks(request), request.scheme)


async def _chunks(request: web.Request) -> AsyncIterator[bytes]:
    kept: bytes | None = getattr(request, "_read_bytes", None)
    if kept is not None:  # a middleware has called read(), and aiohttp keeps it
        yield kept
        return
    if request._message.compression:  # pyright: ignore[reportPrivateUsage]
        # aiohttp hands over what it has decompressed: the bytes that were signed are gone.
        raise SignatureError(Reason.SIGNATURE_MISMATCH, "aiohttp decompresses such a body")
    body = KeptBody(
        request.content.iter_any(),
        (ConnectionError,),
        lambda: bool(request.content_length),
        "request.content or request.multipart() in a middleware",
    )
    try:
        async for chunk in body:
            yield chunk
    except web.RequestPayloadError as error:
        raise RequestError(Reason.BODY_INCOMPLETE, type(error).__name__) from None
    request._read_bytes = body.joined  # pyright: ignore[reportPrivateUsage]


def _status_of(answer: web.StreamResponse) -> int:
    views.refuse_stream(isinstance(getattr(answer, "body", None), AsyncIterablePayload))
    return answer.status  # an HTTPException is a response too
