"""A receiver in Flask, with everything that may be behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask import Flask, current_app

from karla_receiver import ConfigurationError, Event
from karla_receiver.adapters.flask import Karla
from tests.behind import BEHIND, Behind
from tests.doors import signed_knock
from tests.frameworks.flask import knock_at
from tests.signing import SECRET


@pytest.mark.parametrize("behind", BEHIND.values(), ids=BEHIND)
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


def test_two_apps_have_an_inbox_each(tmp_path: Path) -> None:
    karla = Karla()
    with BEHIND["SQLiteInbox"](tmp_path) as kept:
        karla.init_app(Flask("shop"), **kept.options)
        with pytest.raises(ConfigurationError, match="this inbox has a receiver"):
            karla.init_app(Flask("other"), **kept.options)
