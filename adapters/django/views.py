"""Webhook views.

A webhook view needs no session and no token, so it is exempt from both. Its body is limited by the
receiver alone, not by DATA_UPLOAD_MAX_MEMORY_SIZE.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from inspect import iscoroutinefunction
from io import BytesIO
from typing import Any, Final, NamedTuple, TypeAlias, cast

from asgiref.sync import sync_to_async
from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.wsgi import WSGIRequest
from django.db import connections, transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse

from karla_receiver import ConfigurationError, Event, Receiver, Request, Response, views
from karla_receiver.adapters.django.databases import manage_connections, serving
from karla_receiver.adapters.django.settings import receiver_from_settings
from karla_receiver.adapters.wsgi import refuse_endless
from karla_receiver.adapters.wsgi import to_request as wsgi_request
from karla_receiver.request import BodyBuffer
from karla_receiver.views import check_receiver

__all__ = ["MARK", "DjangoView", "Mount", "View", "endpoint", "to_request", "webhook"]

# Called with the request, the event, and what the URL captures.
View: TypeAlias = Callable[..., Any]
DjangoView: TypeAlias = Callable[..., Any]

_CHUNK_BYTES = 65_536
# What Django answers for the exceptions of a view (django.core.handlers.exception).
_ABORTS = {Http404: 404, PermissionDenied: 403, BadRequest: 400, SuspiciousOperation: 400}
# The attribute of a webhook view that has its `Mount`.
MARK: Final = "karla_webhook"


def webhook(*secrets: str | bytes | Receiver) -> Callable[[View], DjangoView]:
    """Make the decorated view receive events: called with the request, the event, and what the
    URL captures.

    secrets: none for those in the settings; one webhook secret; several, while one replaces the
    other; or a Receiver, whose handlers are called before the view.
    The view may be async. What it returns is the response; None is the documented success.
    Http404 and its like go to Django as usual; after any other exception the answer is 500, and
    the exception is logged. Under ATOMIC_REQUESTS each handler, and the view, is called in a
    transaction of its own; the view's is rolled back unless it answers 2xx.
    Raises ConfigurationError for unusable secrets, and for a view that takes something else.
    """
    try:
        if len(secrets) == 1 and callable(secrets[0]):
            raise ConfigurationError(
                "webhook was given the view: write @webhook(), for the secret in the settings, or"
                " @webhook(secret)"
            )
        return views.decorator(secrets or (receiver_from_settings(),), _view, "request", "event")
    finally:
        del secrets  # so that no error report with local variables shows them


def endpoint(receiver: Receiver) -> DjangoView:
    """Make the view of a receiver whose handlers do everything. The URL may capture anything.

    Under ATOMIC_REQUESTS each handler is called in a transaction of its own.
    Raises ConfigurationError if receiver is not a Receiver.
    """
    return _view(check_receiver(receiver), None)


def to_request(request: HttpRequest) -> Request:
    """Make a Request whose body is read when the receiver asks for it, and kept for the view.

    Raises ConfigurationError for a request that wraps Django's, as that of REST framework does.
    """
    if not isinstance(request, HttpRequest):
        raise ConfigurationError(
            f"a webhook view takes Django's own request, not a {type(request).__qualname__}: leave"
            " out what wraps it, as @api_view, or hand on its request._request"
        )
    headers = [
        (name, request.META[key])
        for name, key in (
            ("karla-signature", "HTTP_KARLA_SIGNATURE"),
            ("content-length", "CONTENT_LENGTH"),
        )
        if key in request.META
    ]
    # Django's own attribute is in upper case, whatever was received.
    source = request.scope["method"] if isinstance(request, ASGIRequest) else None
    method: str = source or request.META["REQUEST_METHOD"]
    return Request(method, headers, _chunks(request), request.scheme or "http")


def _view(receiver: Receiver, view: View | None) -> DjangoView:
    is_async = iscoroutinefunction(view)
    excluded: Iterable[str] = getattr(view, "_non_atomic_requests", ())

    def receive(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        call = None if view is None else _call_of(view, request, args, kwargs)
        with serving(excluded):
            answer = views.receive(receiver, to_request(request), call, _status_of, tuple(_ABORTS))
        return _to_response(answer)

    async def receive_async(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if isinstance(request, ASGIRequest):
            receiver.note_loop()  # under WSGI Django makes a loop for each request
        # In Django's thread for sync code: there are the database connections of sync handlers.
        return await sync_to_async(receive)(request, *args, **kwargs)

    manage_connections(receiver)
    return _marked(receive_async if is_async else _non_atomic(receive), receiver)


def _call_of(
    view: View, request: HttpRequest, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> views.EventView:
    if not iscoroutinefunction(view):
        return lambda event: view(request, event, *args, **kwargs)

    async def call(event: Event) -> object:
        return await view(request, event, *args, **kwargs)

    return call


def _non_atomic(view: DjangoView) -> DjangoView:
    # Django would commit when the delivery has counted as handled already: it would be lost with
    # the commit. Each handler is called in a transaction instead; see `serving`.
    for alias in connections:
        transaction.non_atomic_requests(using=alias)(view)
    return view


class Mount(NamedTuple):
    """What the system check needs of a webhook view. view: without any decorator around it."""

    view: DjangoView
    receiver: Receiver


def _marked(view: DjangoView, receiver: Receiver) -> DjangoView:
    # As csrf_exempt and login_not_required do, the latter since Django 5.1. MARK is for the system
    # check: a decorator around the view takes it along.
    mount = Mount(view, receiver)
    vars(view).update({"csrf_exempt": True, "login_required": False, MARK: mount})
    return view


def _chunks(request: HttpRequest) -> Iterator[bytes]:
    fields = vars(request)
    if isinstance(request, WSGIRequest):
        refuse_endless(request.environ)
    if "_body" in fields:  # a middleware has read request.body, and Django keeps it
        yield request.body
        return
    if fields["_read_started"]:
        views.warn_of_lost_body("request.POST, request.FILES or request.read()")
        return
    if isinstance(request, WSGIRequest):
        source = cast("Iterable[bytes]", wsgi_request(request.environ).body)
    else:
        source = iter(partial(request.read, _CHUNK_BYTES), b"")
    kept = BodyBuffer()
    for chunk in source:
        kept.add(chunk)
        yield chunk
    fields["_body"] = bytes(kept.body)
    fields["_stream"] = BytesIO(fields["_body"])


def _status_of(answer: object) -> int:
    views.refuse_stream(isinstance(answer, StreamingHttpResponse))
    if isinstance(answer, HttpResponseBase):
        return answer.status_code
    # Anything else is no answer: Django says 500.
    return next((status for kind, status in _ABORTS.items() if isinstance(answer, kind)), 500)


def _to_response(answer: object) -> HttpResponseBase:
    if not isinstance(answer, Response):
        return cast("HttpResponseBase", answer)
    return HttpResponse(answer.body, status=answer.status, headers=dict(answer.headers))
