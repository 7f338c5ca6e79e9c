"""A Django project in one file that receives webhooks from Karla.

Run it:              pip install "karla-receiver[django]"
                     KARLA_WEBHOOK_SECRET=try-me-try-me-16 python examples/django_shop.py
Send it a delivery:  python examples/send.py http://127.0.0.1:8000/webhooks/karla
"""

from __future__ import annotations

import logging
import os
from wsgiref.simple_server import make_server

import django
from django.conf import settings
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

from karla_receiver import Event, Phase, ShipmentEvent
from karla_receiver.adapters.django import webhook

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    INSTALLED_APPS=["karla_receiver.adapters.django"],
    KARLA_WEBHOOK_SECRET=os.environ["KARLA_WEBHOOK_SECRET"],
    LOGGING_CONFIG=None,
    MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="for-this-example-only",
)
django.setup()

logger = logging.getLogger("shop")


@webhook()
def on_karla_event(request: HttpRequest, event: Event) -> None:
    """Act on an event; returning nothing acknowledges it."""
    if isinstance(event, ShipmentEvent) and event.phase == Phase.DELIVERED:
        logger.warning("order %s: thank the customer", event.order_number)


def front_page(request: HttpRequest) -> HttpResponse:
    """Serve the shop as ever."""
    return HttpResponse("Tea, and webhooks.\n")


urlpatterns = [path("", front_page), path("webhooks/karla", on_karla_event)]
application = get_wsgi_application()

if __name__ == "__main__":
    call_command("check")
    server = make_server("127.0.0.1", int(os.environ.get("PORT", "8000")), application)
    print(f"http://127.0.0.1:{server.server_port}")
    server.serve_forever()
