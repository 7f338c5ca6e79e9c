"""Runs docs/start.md: the shop, served, and what sends to it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.test_docs import DOCS, blocks, programs
from tests.wsgi_server import serving

PAGE = DOCS / "start.md"


def test_the_five_minute_start_works(capsys: pytest.CaptureFixture[str]) -> None:
    shop, sender = programs(PAGE)
    (shown,) = [block.content for block in blocks(PAGE) if block.language == "text"]
    names: dict[str, Any] = {"__name__": "shop"}
    exec(shop, names)  # noqa: S102 - it is our own page
    with serving(names["app"]) as url:
        assert "http://127.0.0.1:5000" in sender  # where Flask serves
        exec(sender.replace("http://127.0.0.1:5000", url))  # noqa: S102

    printed = capsys.readouterr().out
    assert printed == f"order NT-20417 has arrived\n{shown}"
