"""Django: a sync view under WSGI and under ASGI, and an async one under ASGI."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import django
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.test.utils import override_settings
from django.urls import clear_url_caches, path, re_path

from karla_receiver import Event, Receiver
from karla_receiver.adapters.django import endpoint, webhook
from tests.asgi_server import knock_at
from tests.doors import PATH, Answer, Door, Knock, answer_of, logged_reasons, run_wsgi, wsgi_environ
from tests.frameworks.contract import (
    STREAM,
    Behaviour,
    Example,
    Framework,
    late,
    outcome,
)

settings.configure(
    ALLOWED_HOSTS=["testserver"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=[
        "django.contrib.contenttypes",
        "django.contrib.auth",  # LoginRequiredMiddleware imports its models
        "karla_receiver.adapters.django",
    ],
    LOGGING_CONFIG=None,  # or Django would take the log over
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
    ],
    SECRET_KEY="of-these-tests",
    USE_TZ=True,
)
django.setup()


def nothing(request: HttpRequest, event: Event) -> None:
    """Leave it to the receiver's handlers."""


async def nothing_async(request: HttpRequest, event: Event) -> None:
    """Leave it to the receiver's handlers."""


def routed_by(urlpatterns: list[Any]) -> override_settings:
    """Route by these patterns while the context lasts."""
    urls = ModuleType("urls")
    urls.urlpatterns = urlpatterns  # type: ignore[attr-defined]
    clear_url_caches()
    return override_settings(ROOT_URLCONF=urls)


def routed(view: Any) -> override_settings:
    """Put a view at the path, alone, while the context lasts."""
    return routed_by([path(PATH.removeprefix("/"), view)])


def _asked(knock: Knock) -> Answer:
    with logged_reasons() as reasons:
        return answer_of(reasons, *run_wsgi(WSGIHandler(), wsgi_environ(knock)))


def through_django(receiver: Receiver, knock: Knock) -> Answer:
    with routed(webhook(receiver)(nothing)):
        return _asked(knock)


def through_django_asgi(receiver: Receiver, knock: Knock) -> Answer:
    with routed(webhook(receiver)(nothing)):
        return knock_at(ASGIHandler(), knock)


def through_django_async(receiver: Receiver, knock: Knock) -> Answer:
    with routed(webhook(receiver)(nothing_async)):
        return knock_at(ASGIHandler(), knock)


def endpoint_of_django(receiver: Receiver, knock: Knock) -> Answer:
    with routed(endpoint(receiver)):
        return _asked(knock)


def endpoint_of_django_asgi(receiver: Receiver, knock: Knock) -> Answer:
    with routed(endpoint(receiver)):
        return knock_at(ASGIHandler(), knock)


def endpoint_capturing_a_name(receiver: Receiver, knock: Knock) -> Answer:
    assert PATH == "/webhooks/karla"
    with routed_by([path("webhooks/<str:tenant>", endpoint(receiver))]):
        return _asked(knock)


def endpoint_capturing_a_position(receiver: Receiver, knock: Knock) -> Answer:
    with routed_by([re_path(r"^webhooks/(\w+)$", endpoint(receiver))]):
        return _asked(knock)


ENDPOINTS: dict[str, Door] = {
    "django": endpoint_of_django,
    "django asgi": endpoint_of_django_asgi,
    "django <str:tenant>": endpoint_capturing_a_name,
    "django re_path": endpoint_capturing_a_position,
}


def own(status: int | None) -> Any:
    if status == STREAM:
        return StreamingHttpResponse(late())
    return None if status is None else HttpResponse("own", status=status)


def shop(behaviour: Behaviour, secrets: tuple[Any, ...], is_async: bool, knock: Knock) -> Answer:
    async def async_view(request: HttpRequest, event: Event) -> Any:
        return own(outcome(behaviour, event, request.body))

    def view(request: HttpRequest, event: Event) -> Any:
        return own(outcome(behaviour, event, request.body))

    with routed(webhook(*secrets)(async_view if is_async else view)):
        if is_async:
            return knock_at(ASGIHandler(), knock)
        return _asked(knock)


def ask(names: dict[str, Any], knocks: list[Knock]) -> list[int | None]:
    with routed_by(names["urlpatterns"]):
        return [run_wsgi(WSGIHandler(), wsgi_environ(knock))[0] for knock in knocks]


FRAMEWORK = Framework(
    imports=frozenset({"django", "asgiref"}),
    doors={
        "django": through_django,
        "django asgi": through_django_asgi,
        "django async": through_django_async,
    },
    shop=shop,
    reads_by_length=("django",),
    abort=Http404(),
    ask=ask,
    configured=lambda settings: override_settings(**settings),
    serves=("python manage.py runserver", 8000),
    examples={"django_shop": Example("django_shop.py")},
)
