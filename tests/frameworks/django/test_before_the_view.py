"""What Django puts before a webhook view: the table of docs/operations/django.md, row by row."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import django
import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection, transaction
from django.http import HttpResponse
from django.test.utils import override_settings
from django.urls import path

from karla_receiver import Event, Receiver
from karla_receiver.adapters.django import endpoint
from tests.doors import PATH, Knock, logged_reasons, run_wsgi, signed_knock, wsgi_environ
from tests.frameworks.django import routed_by
from tests.signing import SECRET

PAGE = Path(__file__).parents[3] / "docs" / "operations" / "django.md"
MIDDLEWARE = "django.middleware"


class Shop:
    """A project with a webhook and an ordinary view, which counts the events that come through."""

    def __init__(self, slash: str = "") -> None:
        self.events: list[Event] = []
        receiver = Receiver(SECRET)
        receiver.on("*")(self.events.append)
        self._urls = [
            path(f"webhooks/karla{slash}", endpoint(receiver)),
            path("ordinary", lambda request: HttpResponse("ordinary")),
        ]

    def status(self, knock: Knock | None = None, at: str = PATH, **settings: Any) -> int:
        return self.answer(knock, at, **settings)[0]

    def answer(
        self, knock: Knock | None = None, at: str = PATH, **settings: Any
    ) -> tuple[int, dict[str, str]]:
        with routed_by(self._urls), override_settings(**settings):
            environ = wsgi_environ(signed_knock() if knock is None else knock, at)
            status, headers, _ = run_wsgi(WSGIHandler(), environ)
        return status, dict(headers)


# A process of its own, since Django's checks of its users' app stay for good once it is installed.
WITH_LOGIN = """
from types import SimpleNamespace
from django.conf import settings
class Stranger:
    def __init__(self, get_response):
        self.get_response = get_response
    def __call__(self, request):
        request.user = SimpleNamespace(is_authenticated=False)
        return self.get_response(request)
settings.configure(
    ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"],
    LOGGING_CONFIG=None,
    MIDDLEWARE=[
        "__main__.Stranger",
        "django.contrib.auth.middleware.LoginRequiredMiddleware",
    ],
    ROOT_URLCONF="__main__",
)
import django; django.setup()
from django.http import HttpResponse
from django.test import Client
from django.urls import path
from karla_receiver import Receiver, samples, sign
from karla_receiver.adapters.django import endpoint
urlpatterns = [
    path("karla", endpoint(Receiver("your-webhook-secret"))),
    path("ordinary", lambda request: HttpResponse("ordinary")),
]
body = samples.read("shipment_delivered")
headers = {"Karla-Signature": sign(body, "your-webhook-secret")}
for url in ("/karla", "/ordinary"):
    print(Client().post(url, body, "application/json", headers=headers).status_code)
"""


def test_the_page_tells_of_each() -> None:
    section = PAGE.read_text().partition("## What a delivery meets before the view")[2]
    rows = re.findall(r"^\| `(\w+)`", section.partition("\n## ")[0], re.MULTILINE)
    assert rows == [
        "ALLOWED_HOSTS",
        "SECURE_SSL_REDIRECT",
        "APPEND_SLASH",
        "CsrfViewMiddleware",
        "LoginRequiredMiddleware",
        "ATOMIC_REQUESTS",
    ]


def test_a_host_that_is_not_allowed_is_answered_400_and_not_by_the_receiver() -> None:
    shop = Shop()
    with logged_reasons() as reasons:
        assert shop.status(ALLOWED_HOSTS=["shop.example"]) == 400
    assert (shop.events, reasons) == ([], [])
    assert shop.status(ALLOWED_HOSTS=["testserver"]) == 200


def test_http_is_redirected_until_django_is_told_of_the_proxy_or_of_the_path() -> None:
    shop = Shop()
    with logged_reasons() as reasons:
        status, headers = shop.answer(SECURE_SSL_REDIRECT=True)
    assert (status, headers["Location"]) == (301, f"https://testserver{PATH}")
    assert (shop.events, reasons) == ([], [])

    knock = signed_knock()
    knock.headers.append(("X-Forwarded-Proto", "https"))
    proxy: dict[str, Any] = {"SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https")}
    assert shop.status(knock, SECURE_SSL_REDIRECT=True, **proxy) == 200
    exempt: dict[str, Any] = {"SECURE_REDIRECT_EXEMPT": ["^webhooks/karla$"]}
    assert shop.status(SECURE_SSL_REDIRECT=True, **exempt) == 200


@pytest.mark.parametrize(("slash", "at", "debug", "status"), [
    ("/", PATH, False, 301),
    ("/", PATH, True, 500),
    ("", f"{PATH}/", False, 404),
    ("/", f"{PATH}/", False, 200),
])  # fmt: skip
def test_another_last_slash_than_the_pattern_s_does_not_lead_to_the_view(
    slash: str, at: str, debug: bool, status: int
) -> None:
    shop = Shop(slash)
    with logged_reasons() as reasons:
        assert shop.status(at=at, DEBUG=debug, DEBUG_PROPAGATE_EXCEPTIONS=False) == status
    assert (len(shop.events), reasons) == (int(status == 200), [])


def test_no_token_is_asked_for() -> None:
    settings: dict[str, Any] = {"MIDDLEWARE": [f"{MIDDLEWARE}.csrf.CsrfViewMiddleware"]}
    assert Shop().status(**settings) == 200
    assert Shop().status(at="/ordinary", **settings) == 403


@pytest.mark.slow
@pytest.mark.skipif(django.VERSION < (5, 1), reason="needs Django 5.1 or newer")
def test_no_login_is_asked_for() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", WITH_LOGIN], capture_output=True, text=True, check=False
    )
    assert ran.stdout.split() == ["200", "302"], ran.stderr


def test_a_transaction_begins_with_a_handler_and_not_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    begun: list[object] = []
    enter = transaction.Atomic.__enter__

    def count(self: Any) -> None:
        begun.append(self)
        enter(self)

    monkeypatch.setattr(transaction.Atomic, "__enter__", count)
    shop = Shop()
    assert shop.status(signed_knock(secret="another-secret")) == 401
    assert begun == []
    assert shop.status() == 200
    assert len(begun) == 1
