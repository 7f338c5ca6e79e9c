"""Quart: a decorator that makes a view receive events. Needs the extra `quart`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from inspect import signature
from typing import Any, TypeAlias, cast

from quart import Quart, current_app, request
from quart import Request as QuartRequest
from quart.globals import app_ctx
from quart.typing import ResponseTypes
from quart.wrappers.response import IterableBody
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from karla_receiver import Event, Receiver, Request, RequestError, Response, views
from karla_receiver.errors import Reason
from karla_receiver.request import BodyBuffer
from karla_receiver.views import check_receiver

__all__ = ["QuartView", "View", "endpoint", "to_request", "webhook"]

# The first argument is the event; what the URL rule captures follows by name.
View: TypeAlias = Callable[..., Any]
QuartView: TypeAlias = Callable[..., Awaitable[ResponseTypes]]


def webhook(*secrets: str | bytes | Receiver) -> Callable[[View], QuartView]:
    """Make the decorated view receive events: it is called with each verified one.

    secrets: one webhook secret; or several, while one replaces the other; or a Receiver, whose
    handlers are called before the view. The decorator goes below the route's.
    The view may be sync, and runs as Quart runs sync views. What it returns is the response; None
    is the documented success. An HTTPException, as from abort(), goes to Quart as usual; after
    any other exception the answer is 500, and the exception is logged.
    Raises ConfigurationError for unusable secrets, and for a view that does not take the event.
    """
    try:
        return views.decorator(secrets, _view, "event")
    finally:
        del secrets  # so that no error report with local variables shows them


def endpoint(receiver: Receiver) -> QuartView:
    """Make a view of a receiver whose handlers do everything.

    Raises ConfigurationError if receiver is not a Receiver.
    """
    return _view(check_receiver(receiver), None)


def _view(receiver: Receiver, view: View | None) -> QuartView:
    async def receive(*args: Any, **kwargs: Any) -> ResponseTypes:
        app: Quart = current_app

        async def call(event: Event) -> ResponseTypes | None:
            try:
                answer = await app.ensure_async(cast("View", view))(*args, event, **kwargs)
            except HTTPException as abort:
                if abort.code is None:
                    raise  # Quart would answer 200
                # Here, as the app's own error handlers decide which status is sent.
                answer = await _handled(app, abort)
            return None if answer is None else await app.make_response(answer)

        answer = await views.receive_async(
            receiver, to_request(request), call if view else None, _status_of
        )
        return _to_response(answer)

    return receive


async def _handled(app: Quart, abort: HTTPException) -> Any:
    handle: Any = app.handle_user_exception
    given = (cast("Any", app_ctx)._get_current_object(), abort)
    return await handle(*given[-len(signature(handle).parameters) :])  # both since Quart 0.23


def to_request(quart_request: QuartRequest) -> Request:
    """Make a Request whose body is read when the receiver asks for it, and kept for the view."""
    scope: Any = quart_request.scope
    return Request(scope["method"], scope["headers"], _chunks(quart_request), scope["scheme"])


async def _chunks(quart_request: QuartRequest) -> AsyncIterator[bytes]:
    body = quart_request.body
    # Newer versions of Quart apply their limit in get_data() alone, and the time-out always did.
    kept = BodyBuffer(sys.maxsize if (limit := quart_request.max_content_length) is None else limit)
    try:
        async with asyncio.timeout(quart_request.body_timeout):
            async for chunk in body:
                kept.add(chunk)
                yield chunk
            if not kept.body:  # read already: newer versions give it again to get_data() alone
                kept.add(await body)
                yield kept.body
    except TimeoutError:
        raise RequestError(Reason.BODY_INCOMPLETE, "BODY_TIMEOUT") from None
    except RequestEntityTooLarge:  # by Quart's own limit
        raise RequestError(Reason.BODY_TOO_LARGE, "MAX_CONTENT_LENGTH") from None
    if not kept.body and quart_request.content_length:
        views.warn_of_lost_body("request.form, request.files or request.body")
    _make_readable_again(quart_request, bytes(kept.body))


def _make_readable_again(quart_request: QuartRequest, data: bytes) -> None:
    """Give the view a body of its own: the first one takes nothing more once it was complete."""
    quart_request.body = quart_request.body_class(None, None)
    quart_request.body.set_result(data)


def _status_of(answer: ResponseTypes) -> int:
    views.refuse_stream(isinstance(getattr(answer, "response", None), IterableBody))
    return answer.status_code


def _to_response(answer: object) -> ResponseTypes:
    if isinstance(answer, Response):
        make: Any = current_app.response_class
        answer = make(answer.body, answer.status, dict(answer.headers))
    return cast("ResponseTypes", answer)
