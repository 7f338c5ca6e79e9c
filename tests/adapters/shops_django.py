from __future__ import annotations

from typing import Any

from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse

from karla_receiver import Event
from karla_receiver.adapters.django import webhook
from tests.adapters.views import STREAM, Behaviour, late, outcome
from tests.asgi_server import knock_at
from tests.doors import Answer, Knock, answer_of, logged_reasons, run_wsgi, wsgi_environ
from tests.doors_django import routed

ABORT = Http404()


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
        with logged_reasons() as reasons:
            return answer_of(reasons, *run_wsgi(WSGIHandler(), wsgi_environ(knock)))
