"""Webhook views."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial
from io import BytesIO
from typing import Any, TypeAlias, cast

from flask import Request as FlaskRequest
from flask import Response as FlaskResponse
from flask import current_app, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from karla_receiver import Event, Receiver, Request, Response, views
from karla_receiver.adapters.wsgi import read_chunk, refuse_endless, to_request
from karla_receiver.errors import Reason, RequestError
from karla_receiver.request import BodyBuffer
from karla_receiver.runners import is_async
from karla_receiver.views import check_receiver

__all__ = ["FlaskView", "View", "endpoint", "webhook"]

# The first argument is the event; what the URL rule captures follows by name.
View: TypeAlias = Callable[..., Any]
FlaskView: TypeAlias = Callable[..., ResponseReturnValue]

_CHUNK_BYTES = 65_536


def webhook(*secrets: str | bytes | Receiver) -> Callable[[View], FlaskView]:
    """Make the decorated view receive events: it is called with each verified one.

    secrets: one webhook secret; or several, while one replaces the other; or a Receiver, whose
    handlers are called before the view. The decorator goes below the route's.
    The view may be async. What it returns is the response; None is the documented success. A
    method that the route does not accept is answered by Flask itself, and so is OPTIONS.
    In Google Cloud Functions the decorated view is the function: its framework is built on Flask.
    An HTTPException, as from abort(), goes to Flask as usual; after any other exception the
    answer is 500, and the exception is logged. What functions of after_request do comes later, and
    their errors do not count.
    Raises ConfigurationError for unusable secrets, and for a view that does not take the event.
    """
    try:
        return views.decorator(secrets, _view, "event")
    finally:
        del secrets  # so that no error report with local variables shows them


def endpoint(receiver: Receiver) -> FlaskView:
    """Make the view of a receiver whose handlers do everything. The URL rule may capture anything.

    It is for `app.add_url_rule(path, view_func=endpoint(receiver), methods=["POST"])`, where its
    name is "karla" unless the rule gives it another.
    Raises ConfigurationError if receiver is not a Receiver.
    """
    check_receiver(receiver)

    def karla(**captured: Any) -> ResponseReturnValue:
        return _to_response(receiver.receive(_to_request(request)))

    return karla


def _view(receiver: Receiver, view: View) -> FlaskView:
    def receive(*args: Any, **kwargs: Any) -> ResponseReturnValue:
        # args: the self of a method of a MethodView. Google's functions-framework adds the request.
        if args and isinstance(args[-1], FlaskRequest):
            args = args[:-1]

        def call(event: Event) -> Any:
            answer = view(*args, event, **kwargs)
            return _finished(answer) if inspect.isawaitable(answer) else _made(answer)

        async def call_async(event: Event) -> FlaskResponse | None:
            return _made(await view(*args, event, **kwargs))

        answer = views.receive(
            receiver,
            _to_request(request),
            call_async if is_async(view) else call,
            _status_of,
            (HTTPException,),
        )
        if isinstance(answer, Response):
            return _to_response(answer)
        return cast("ResponseReturnValue", answer)

    return receive


async def _finished(answer: Awaitable[Any]) -> FlaskResponse | None:
    return _made(await answer)


def _made(answer: Any) -> FlaskResponse | None:
    if answer is None:
        return None
    response = current_app.make_response(answer)
    response.make_sequence()  # what a generator does on the way counts as handling
    return response


def _status_of(answer: Any) -> int:
    response = answer.get_response() if isinstance(answer, HTTPException) else answer
    status: int = response.status_code
    return status


def _to_request(flask_request: FlaskRequest) -> Request:
    restored = to_request(flask_request.environ, restore=True)
    limit = flask_request.max_content_length
    if "stream" in vars(flask_request):
        chunks = _touched_chunks(flask_request)
    elif limit is None:
        return restored  # nothing has touched the body: read it at the source
    else:
        chunks = _limited_chunks(cast("Iterable[bytes]", restored.body), flask_request, limit)
    return Request(restored.method, restored.headers, chunks, restored.scheme)


def _limited_chunks(
    chunks: Iterable[bytes], flask_request: FlaskRequest, limit: int
) -> Iterator[bytes]:
    """Refuse what Flask would: its own stream stops at the limit and does not tell of more."""
    if (flask_request.content_length or 0) > limit:
        raise _over_flasks_limit()
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > limit:
            raise _over_flasks_limit()
        yield chunk


def _over_flasks_limit() -> RequestError:
    return RequestError(Reason.BODY_TOO_LARGE, "MAX_CONTENT_LENGTH")


def _touched_chunks(flask_request: FlaskRequest) -> Iterator[bytes]:
    """Read the body after something else, as before_request, has touched it."""
    refuse_endless(flask_request.environ)
    kept = BodyBuffer()
    for chunk in iter(partial(_read_chunk, flask_request), b""):
        kept.add(chunk)
        yield chunk
    if kept.body:
        vars(flask_request)["stream"] = BytesIO(kept.body)
    else:
        # Read already: Flask keeps what get_data() and get_json() read, but not what was parsed.
        kept.add(flask_request.get_data())
        yield kept.body
    if len(kept.body) < (flask_request.content_length or 0):
        views.warn_of_lost_body("request.form, request.files or request.stream")


def _read_chunk(flask_request: FlaskRequest) -> bytes:
    try:
        return read_chunk(flask_request.stream, _CHUNK_BYTES)
    except RequestError as broken:
        if isinstance(broken.__context__, RequestEntityTooLarge):
            raise _over_flasks_limit() from None
        raise


def _to_response(response: Response) -> ResponseReturnValue:
    # None where there is no body, or Flask would replace the Content-Length of an answer to HEAD.
    body = response.body or None
    return current_app.response_class(body, response.status, list(response.headers))
