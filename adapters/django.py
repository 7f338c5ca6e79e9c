"""Django: a decorator that makes a view receive events. Needs the extra `django`.

A webhook view needs no session and no token, so it is exempt from both. Its body is limited by the
receiver alone, not by DATA_UPLOAD_MAX_MEMORY_SIZE. In INSTALLED_APPS,
"karla_receiver.adapters.django.KarlaConfig" adds a system check of the wiring.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from inspect import iscoroutinefunction
from io import BytesIO
from typing import Any, TypeAlias, cast

from asgiref.sync import async_to_sync, sync_to_async
from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.wsgi import WSGIRequest
from django.db import connections, transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.urls import URLResolver, get_resolver

from karla_receiver import ConfigurationError, Event, Receiver, Request, Response, views
from karla_receiver.adapters.wsgi import refuse_endless
from karla_receiver.adapters.wsgi import to_request as wsgi_request
from karla_receiver.body import BodyBuffer
from karla_receiver.outcomes import Discard
from karla_receiver.wiring import check_receiver

__all__ = [
    "DjangoView",
    "KarlaConfig",
    "View",
    "check_wiring",
    "endpoint",
    "receiver_from_settings",
    "to_request",
    "webhook",
]

# Called with the request, the event, and what the URL captures.
View: TypeAlias = Callable[..., Any]
DjangoView: TypeAlias = Callable[..., Any]

_CHUNK_BYTES = 65_536
# What Django answers for the exceptions of a view (django.core.handlers.exception).
_ABORTS = {Http404: 404, PermissionDenied: 403, BadRequest: 400, SuspiciousOperation: 400}
_MARK = "karla_webhook"


def webhook(*secrets: str | bytes | Receiver) -> Callable[[View], DjangoView]:
    """Make the decorated view receive events: called with the request, the event, and what the
    URL captures.

    secrets: none for those in the settings; one webhook secret; several, while one replaces the
    other; or a Receiver, whose handlers are called before the view.
    The view may be async. What it returns is the response; None is the documented success.
    Http404 and its like go to Django as usual; after any other exception the answer is 500, and
    the exception is logged. Under ATOMIC_REQUESTS, what the handlers and the view wrote is
    committed before a 2xx acknowledges the delivery, and rolled back with any other answer.
    Raises ConfigurationError for unusable secrets, and for a view that takes something else.
    """
    try:
        if len(secrets) == 1 and callable(secrets[0]):
            raise ConfigurationError(
                "webhook was given the view: write @webhook(), for the secret in the settings, or"
                " @webhook(secret)"
            )
        decorate = views.decorator(
            secrets or (receiver_from_settings(),), _view, "request", "event"
        )
    finally:
        del secrets  # so that no error report with local variables shows them
    return lambda view: _with_own_transactions(decorate(view))


def endpoint(receiver: Receiver) -> DjangoView:
    """Make a view of a receiver whose handlers do everything.

    Raises ConfigurationError if receiver is not a Receiver.
    """
    return _with_own_transactions(_view(check_receiver(receiver), None))


def receiver_from_settings() -> Receiver:
    """Make a receiver with KARLA_WEBHOOK_SECRET of the settings, or a list KARLA_WEBHOOK_SECRETS.

    Django's error reports hide settings of such names.
    Raises ConfigurationError if both are set, or none, or what is set is unusable.
    """
    one = getattr(settings, "KARLA_WEBHOOK_SECRET", None)
    several = getattr(settings, "KARLA_WEBHOOK_SECRETS", None)
    try:
        if one is None and several is None:
            for name in ("KARLA_WEBHOOK_SECRET", "KARLA_WEBHOOK_SECRETS"):
                if hasattr(settings, name):
                    raise ConfigurationError(
                        f"{name} in the settings is None: is its environment variable set?"
                    )
        if (one is None) == (several is None) or not isinstance(several, list | tuple | None):
            raise ConfigurationError(
                "the settings need KARLA_WEBHOOK_SECRET, one secret, or KARLA_WEBHOOK_SECRETS, a"
                " list of several, and not both"
            )
        return Receiver(*cast("Iterable[str]", [one] if several is None else several))
    finally:
        del one, several


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
    def receive(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        work = _Transactions(getattr(made, "_non_atomic_requests", ()))

        def call(event: Event) -> object:
            function: View = view or _nothing
            if is_async:  # made here, in the thread that knows of the event loop
                function = async_to_sync(function)
            try:
                answer = function(request, event, *args, **kwargs)
            except Discard:
                work.commit()
                raise
            if answer is None or 200 <= _status_of(answer) < 300:
                work.commit()
            return answer

        with work:
            answer = views.receive(receiver, to_request(request), call, _status_of, tuple(_ABORTS))
        return _to_response(answer)

    async def receive_async(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if isinstance(request, ASGIRequest):
            receiver.note_loop()  # under WSGI Django makes a loop for each request
        # In Django's thread for sync code: there are the database connections of sync handlers.
        return await sync_to_async(receive)(request, *args, **kwargs)

    is_async = iscoroutinefunction(view)
    made = _exempt(receive_async if is_async else receive)
    return made


def _exempt(view: DjangoView) -> DjangoView:
    # As csrf_exempt and login_not_required do, the latter since Django 5.1. _MARK is for the
    # check below: a decorator around the view takes it along.
    vars(view).update({"csrf_exempt": True, "login_required": False, _MARK: view})
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


def _nothing(request: HttpRequest, event: Event) -> None:
    """Stand in for the view of a receiver whose handlers do everything."""


# --- ATOMIC_REQUESTS ---


class _Transactions:
    """What ATOMIC_REQUESTS asks for, inside the work on a delivery instead of around the request.

    Django would commit when the delivery has counted as handled already: it would be lost with
    the commit. What is not committed by the end of the with block is rolled back.
    """

    def __init__(self, excluded: Iterable[str]) -> None:
        self._aliases = _atomic_aliases(excluded)
        self._open = ExitStack()

    def __enter__(self) -> None:
        with self._open as entering:  # leaves none of them open if one cannot be opened
            for alias in self._aliases:
                entering.enter_context(transaction.atomic(using=alias))
            self._open = entering.pop_all()

    def commit(self) -> None:
        self._aliases = []
        self._open.close()

    def __exit__(self, *raised: Any) -> None:
        for alias in self._aliases:
            transaction.set_rollback(True, using=alias)
        self._open.close()


class _ExcludedByUs(set[str]):
    """For Django, holds every database; iterated, those that the user has excluded."""

    def __contains__(self, alias: object) -> bool:
        return True


def _with_own_transactions(view: DjangoView) -> DjangoView:
    # After update_wrapper, which brings what non_atomic_requests has noted on the user's view.
    if not iscoroutinefunction(view):
        noted: Iterable[str] = getattr(view, "_non_atomic_requests", ())
        vars(view)["_non_atomic_requests"] = _ExcludedByUs(noted)
    return view


def _atomic_aliases(excluded: Iterable[str]) -> list[str]:
    left_out = set(excluded)
    return [
        alias
        for alias in connections
        if connections[alias].settings_dict["ATOMIC_REQUESTS"] and alias not in left_out
    ]


class KarlaConfig(AppConfig):
    """For INSTALLED_APPS: brings the check below along."""

    name = __name__
    label = "karla_receiver"


@checks.register(checks.Tags.urls)
def check_wiring(**options: object) -> list[checks.CheckMessage]:
    """Find webhook views that no delivery can get to, or that would fail for each one."""
    if not getattr(settings, "ROOT_URLCONF", None):
        return []  # a project without URLs, as a worker's
    found = [view for view in _views(get_resolver()) if hasattr(view, _MARK)]
    if not found:
        hint = "Put a view made with @webhook, or endpoint(receiver), into the URLconf."
        return [checks.Warning("No URL leads to a webhook view.", hint, id="karla_receiver.W001")]
    return [message for view in found for message in _faults(view)]


def _faults(view: DjangoView) -> Iterator[checks.CheckMessage]:
    if getattr(view, _MARK) is not view:
        yield checks.Warning(
            f"Another decorator is around the webhook view {view.__qualname__}.",
            "It runs for requests that nobody has verified. Put @webhook on top.",
            id="karla_receiver.W002",
        )
    if iscoroutinefunction(view) and _atomic_aliases(getattr(view, "_non_atomic_requests", ())):
        yield checks.Error(
            f"ATOMIC_REQUESTS and the async webhook view {view.__qualname__} exclude each other.",
            "Django would answer every delivery with 500. Make the view sync, or decorate it with"
            " transaction.non_atomic_requests.",
            id="karla_receiver.E001",
        )


def _views(resolver: URLResolver) -> Iterator[DjangoView]:
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLResolver):
            yield from _views(pattern)
        else:
            yield pattern.callback
