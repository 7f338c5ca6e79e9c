"""One receiver as Django's, as a WSGI app, and behind each bridge from ASGI to WSGI."""

from __future__ import annotations

import logging
import warnings
from importlib import import_module
from typing import Any

import django
from django.conf import settings
from django.http import HttpResponse
from django.urls import path

from karla_receiver import Receiver
from karla_receiver.adapters import asgi
from karla_receiver.adapters.django import endpoint
from karla_receiver.adapters.wsgi import KarlaMiddleware
from tests.signing import SECRET

logging.basicConfig()
receiver = Receiver(SECRET)


def shop(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"the shop"]


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it is deprecated, and in use
    starlettes: Any = import_module("starlette.middleware.wsgi").WSGIMiddleware

asgiref: Any = import_module("asgiref.wsgi").WsgiToAsgi
a2wsgi: Any = import_module("a2wsgi").WSGIMiddleware  # whose types know its own environ only

over_wsgi = KarlaMiddleware(shop, receiver)
over_asgiref = asgiref(over_wsgi)
over_a2wsgi = a2wsgi(over_wsgi)
over_starlette = starlettes(over_wsgi)
# The remedy.
around_a2wsgi = asgi.KarlaMiddleware(a2wsgi(shop), receiver)

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    LOGGING_CONFIG=None,
    ROOT_URLCONF=__name__,
    SECRET_KEY="of-these-tests",
)
django.setup()
urlpatterns = [
    path("", lambda request: HttpResponse("the shop")),
    path("webhooks/karla", endpoint(receiver)),
]

if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    execute_from_command_line()
