"""A receiver in Flask, with everything that may be behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask import Flask, current_app

from karla_receiver import ConfigurationError, Event, Receiver
from karla_receiver.adapters.flask import Karla, webhook
from tests.behind import BEHIND, INBOXES, Behind
from tests.doors import Door, signed_knock
from tests.frameworks.flask import ENDPOINTS, knock_at
from tests.signing import BODY, SECRET

EVERYTHING = pytest.mark.parametrize("behind", BEHIND.values(), ids=BEHIND)


@EVERYTHING
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


@EVERYTHING
def test_handlers_have_the_app_whatever_is_behind(behind: Behind, tmp_path: Path) -> None:
    karla, names, ended = Karla(), list[str](), list[Any]()
    app = Flask("shop")
    app.config["KARLA_WEBHOOK_SECRET"] = SECRET
    app.teardown_appcontext(ended.append)

    @karla.on("*")
    def sync(event: Event) -> None:
        names.append(current_app.name)

    @karla.on("*")
    async def later(event: Event) -> None:
        names.append(current_app.name)

    with behind(tmp_path) as kept:
        karla.init_app(app, **kept.options)
        assert knock_at(app, signed_knock()).status == 200
        kept.handle()
    assert names == ["shop", "shop"]
    contexts = 3 if "inbox" in kept.options else 1  # the request's, and one of each handler
    assert ended == [None] * contexts


@pytest.mark.parametrize("behind", INBOXES.values(), ids=INBOXES)
def test_a_view_beside_an_inbox_is_refused_when_it_is_mounted(
    behind: Behind, tmp_path: Path
) -> None:
    app = Flask("shop")
    with behind(tmp_path) as kept:
        receiver = Karla().init_app(app, path=None, **kept.options)
        with pytest.raises(ConfigurationError, match=r"mount .* endpoint\(receiver\)"):
            webhook(receiver)(lambda event: None)


def test_two_apps_have_an_inbox_each(tmp_path: Path) -> None:
    karla = Karla()
    with BEHIND["SQLiteInbox"](tmp_path) as kept:
        karla.init_app(Flask("shop"), **kept.options)
        with pytest.raises(ConfigurationError, match="this inbox has a receiver"):
            karla.init_app(Flask("other"), **kept.options)
