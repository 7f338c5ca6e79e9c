"""Runs docs/start.md: the shop, served, and what sends to it."""

from __future__ import annotations

import threading
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest

from tests.test_docs import DOCS, blocks, programs

PAGE = DOCS / "start.md"


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_the_five_minute_start_works(capsys: pytest.CaptureFixture[str]) -> None:
    shop, sender = programs(PAGE)
    (shown,) = [block.content for block in blocks(PAGE) if block.language == "text"]
    names: dict[str, Any] = {"__name__": "shop"}
    exec(shop, names)  # noqa: S102 - it is our own page
    with make_server("127.0.0.1", 0, names["app"], handler_class=_Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            assert ":5000/" in sender  # where Flask serves
            exec(sender.replace(":5000/", f":{server.server_port}/"))  # noqa: S102
        finally:
            server.shutdown()
            thread.join()

    printed = capsys.readouterr().out
    assert printed == f"order NT-20417 has arrived\n{shown}"
