"""Every way to mount a receiver whose handlers do everything, with everything behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from karla_receiver import ConfigurationError, Event, Receiver
from karla_receiver.adapters import asgi, wsgi
from tests.behind import BEHIND, INBOXES, Behind
from tests.doors import PATH, asgi_not_found, signed_knock, wsgi_not_found
from tests.frameworks.chosen import ENDPOINTS, FRAMEWORKS
from tests.server_loop import lasting_loop
from tests.signing import BODY, SECRET

# Whose apps live on the server's event loop, by the first word of the door's name.
ON_A_LOOP = {"asgi", "fastapi", "starlette", "quart", "aiohttp"}


@pytest.mark.parametrize("behind", BEHIND.values(), ids=BEHIND)
@pytest.mark.parametrize("name", ENDPOINTS)
def test_an_endpoint_hands_genuine_deliveries_to_each_handler_once(
    name: str, behind: Behind, tmp_path: Path
) -> None:
    door = ENDPOINTS[name]
    calls: list[str] = []
    loops: list[object] = []
    with lasting_loop() as loop, behind(tmp_path) as kept:
        receiver = Receiver(SECRET, **kept.options)

        @receiver.on("shipments")
        def first(event: Event) -> None:
            calls.append("first")

        @receiver.on("*")
        async def second(event: Event) -> None:
            calls.append("second")
            loops.append(asyncio.get_running_loop())

        forged = signed_knock(BODY, "another-secret-of-16")
        assert door(receiver, forged).status == 401
        assert door(receiver, signed_knock()).status == 200
        kept.handle()
    assert calls == ["first", "second"]
    if name.split()[0] in ON_A_LOOP:
        assert loops == [loop], "the server's, also where an inbox's worker calls the handler"


def _nothing(first: Any, second: Any) -> None:
    """Never called."""


async def _nothing_async(first: Any, second: Any) -> None:
    """Never called."""


def _webhook_of(name: str) -> Callable[[Receiver], object]:
    webhook = import_module(f"karla_receiver.adapters.{name}").webhook
    return lambda receiver: (webhook(receiver)(_nothing), webhook(receiver)(_nothing_async))


# Whatever hands events to something else than handlers.
MOUNTS_OF_VIEWS: dict[str, Callable[[Receiver], object]] = {
    "asgi": lambda receiver: asgi.KarlaMiddleware(asgi_not_found, receiver, PATH, forward=True),
    "wsgi": lambda receiver: wsgi.KarlaMiddleware(wsgi_not_found, receiver, PATH, forward=True),
    **{name: _webhook_of(name) for name, each in FRAMEWORKS.items() if each.has_webhook},
}
if "fastapi" in FRAMEWORKS:
    from karla_receiver.adapters.fastapi import KarlaRouter

    MOUNTS_OF_VIEWS["fastapi"] = KarlaRouter


@pytest.mark.parametrize("mount", MOUNTS_OF_VIEWS.values(), ids=MOUNTS_OF_VIEWS)
@pytest.mark.parametrize("behind", INBOXES.values(), ids=INBOXES)
def test_a_view_beside_an_inbox_is_refused_when_it_is_mounted(
    behind: Behind, mount: Callable[[Receiver], object], tmp_path: Path
) -> None:
    with behind(tmp_path) as kept:
        receiver = Receiver(SECRET, **kept.options)
        with pytest.raises(ConfigurationError, match=r"mount .* endpoint\(receiver\)"):
            mount(receiver)
