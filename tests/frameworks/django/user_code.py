"""Code as a user of Django writes it, for type checkers only: nothing here is run."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import path

from karla_receiver import ClaimEvent, Event, Receiver
from karla_receiver.adapters import django

receiver = Receiver("secret")


@django.webhook()
def django_view(request: HttpRequest, event: Event) -> HttpResponse | None:
    return HttpResponse(status=202) if isinstance(event, ClaimEvent) else None


@django.webhook(receiver)
async def django_view_of_a_shop(request: HttpRequest, event: Event, shop: str) -> None:
    """Acknowledge."""


urlpatterns = [path("karla", django_view), path("all", django.endpoint(receiver))]
