"""Every way to mount a receiver whose handlers do everything, with everything behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.urls import path, re_path

from karla_receiver import ConfigurationError, Event, Receiver
from karla_receiver.adapters.django import endpoint, webhook
from tests.asgi_server import knock_at
from tests.behind import BEHIND, INBOXES, Behind
from tests.doors import (
    PATH,
    Answer,
    Door,
    Knock,
    answer_of,
    logged_reasons,
    run_wsgi,
    signed_knock,
    wsgi_environ,
)
from tests.frameworks.django import nothing, nothing_async, routed, routed_by
from tests.signing import BODY, SECRET


def _asked(knock: Knock) -> Answer:
    with logged_reasons() as reasons:
        return answer_of(reasons, *run_wsgi(WSGIHandler(), wsgi_environ(knock)))


def through_django(receiver: Receiver, knock: Knock) -> Answer:
    with routed(endpoint(receiver)):
        return _asked(knock)


def through_django_asgi(receiver: Receiver, knock: Knock) -> Answer:
    with routed(endpoint(receiver)):
        return knock_at(ASGIHandler(), knock)


def through_django_capturing_a_name(receiver: Receiver, knock: Knock) -> Answer:
    assert PATH == "/webhooks/karla"
    with routed_by([path("webhooks/<str:tenant>", endpoint(receiver))]):
        return _asked(knock)


def through_django_capturing_a_position(receiver: Receiver, knock: Knock) -> Answer:
    with routed_by([re_path(r"^webhooks/(\w+)$", endpoint(receiver))]):
        return _asked(knock)


ENDPOINTS: dict[str, Door] = {
    "django": through_django,
    "django asgi": through_django_asgi,
    "django <str:tenant>": through_django_capturing_a_name,
    "django re_path": through_django_capturing_a_position,
}


@pytest.mark.parametrize("behind", BEHIND.values(), ids=BEHIND)
@pytest.mark.parametrize("door", ENDPOINTS.values(), ids=ENDPOINTS)
def test_an_endpoint_hands_genuine_deliveries_to_each_handler_once(
    door: Door, behind: Behind, tmp_path: Path
) -> None:
    calls: list[str] = []
    with behind(tmp_path) as kept:
        receiver = Receiver(SECRET, **kept.options)

        @receiver.on("shipments")
        def first(event: Event) -> None:
            calls.append("first")

        @receiver.on("*")
        async def second(event: Event) -> None:
            calls.append("second")

        forged = signed_knock(BODY, "another-secret-of-16")
        assert door(receiver, forged).status == 401
        assert door(receiver, signed_knock()).status == 200
        kept.handle()
    assert calls == ["first", "second"]


@pytest.mark.parametrize("view", [nothing, nothing_async])
@pytest.mark.parametrize("behind", INBOXES.values(), ids=INBOXES)
def test_a_view_beside_an_inbox_is_refused_when_it_is_mounted(
    behind: Behind, view: Any, tmp_path: Path
) -> None:
    with behind(tmp_path) as kept:
        receiver = Receiver(SECRET, **kept.options)
        with pytest.raises(ConfigurationError, match=r"mount .* endpoint\(receiver\)"):
            webhook(receiver)(view)
