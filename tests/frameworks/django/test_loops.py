"""On which event loop async handlers and views run."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.db import connection
from django.http import HttpRequest
from django.test import AsyncClient, Client
from django.test.utils import override_settings
from django.utils.decorators import async_only_middleware

from karla_receiver import Event, Receiver
from karla_receiver.adapters.django import endpoint, webhook
from tests.asgi_server import knock_at
from tests.doors import PATH, signed_knock
from tests.frameworks.django import nothing, nothing_async, routed
from tests.signing import BODY, SECRET, signature_header
from tests.waiting import until


def post(client: Any) -> Any:
    headers: Any = signature_header()
    return client.post(PATH, BODY, content_type="application/json", headers=headers)


def a_receiver(seen: list[Any]) -> Receiver:
    """Make a receiver whose handlers note their event loop, and use a database."""
    receiver = Receiver(SECRET)

    @receiver.on("*")
    async def handle(event: Event) -> None:
        seen.append(asyncio.get_running_loop())
        seen.append(await sync_to_async(lambda: connection.vendor)())

    # A sync function that returns what has to be awaited.
    receiver.on("*")(lambda event: handle(event))
    return receiver


VIEWS = {
    "endpoint": endpoint,
    "view": lambda receiver: webhook(receiver)(nothing),
    "async view": lambda receiver: webhook(receiver)(nothing_async),
}


@pytest.mark.parametrize("mount", VIEWS.values(), ids=VIEWS)
def test_under_asgi_handlers_run_on_the_servers_loop(mount: Any) -> None:
    seen: list[Any] = []

    async def request() -> None:
        assert (await post(AsyncClient())).status_code == 200
        assert seen == [asyncio.get_running_loop(), "sqlite"] * 2

    with routed(mount(a_receiver(seen))):
        async_to_sync(request)()


@pytest.mark.parametrize("mount", VIEWS.values(), ids=VIEWS)
def test_under_asgi_a_handler_that_uses_a_database_does_not_wait_for_itself(mount: Any) -> None:
    # Each request of the server has one thread for sync code, in which the view waits.
    seen: list[Any] = []
    answers: list[int | None] = []
    with routed(mount(a_receiver(seen))):
        call = lambda: answers.append(knock_at(ASGIHandler(), signed_knock()).status)  # noqa: E731
        threading.Thread(target=call, daemon=True).start()
        until(lambda: answers, "an answer")
    assert answers == [200]
    assert seen[1::2] == ["sqlite"] * 2


def test_under_asgi_a_view_runs_on_the_servers_loop() -> None:
    loops: list[Any] = []

    @webhook(SECRET)
    async def view(request: HttpRequest, event: Event) -> None:
        loops.append(asyncio.get_running_loop())

    async def request() -> None:
        assert (await post(AsyncClient())).status_code == 200
        assert loops == [asyncio.get_running_loop()]

    with routed(view):
        async_to_sync(request)()


def test_under_wsgi_handlers_share_one_lasting_loop() -> None:
    seen: list[Any] = []
    with routed(webhook(SECRET)(nothing_async)):
        assert post(Client()).status_code == 200, "on a loop of its own, by Django's way"
    with routed(endpoint(a_receiver(seen))):
        for _ in range(2):
            assert post(Client()).status_code == 200
    assert seen == [seen[0], "sqlite"] * 4
    assert seen[0].is_running()


@async_only_middleware
def waiting(get_response: Any) -> Any:
    async def middleware(request: HttpRequest) -> Any:
        return await get_response(request)

    return middleware


@pytest.mark.parametrize("mount", VIEWS.values(), ids=VIEWS)
@override_settings(MIDDLEWARE=[f"{__name__}.waiting"])
def test_under_wsgi_behind_an_async_middleware_a_handler_reaches_its_database(mount: Any) -> None:
    seen: list[Any] = []
    with routed(mount(a_receiver(seen))):
        assert post(Client()).status_code == 200
    assert seen[1::2] == ["sqlite"] * 2
