"""Runs what the README shows, and checks what it tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from tests.doors import Knock, run_wsgi, signed_knock, wsgi_environ
from tests.signing import DOCS_SECRET

README = Path(__file__).parent.parent / "README.md"
TEXT = README.read_text()


def knock() -> Knock:
    return signed_knock(secret=DOCS_SECRET)


def blocks(language: str) -> list[str]:
    fences = [token for token in MarkdownIt().parse(TEXT) if token.type == "fence"]
    return [token.content for token in fences if token.info == language]


def test_every_block_is_of_a_kind_that_is_run() -> None:
    fences = [token.info for token in MarkdownIt().parse(TEXT) if token.type == "fence"]
    assert sorted(fences) == ["python"] + ["sh"] * 2


def test_the_flask_receiver_works(capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = blocks("python")
    names: dict[str, Any] = {"__name__": "readme"}
    exec(program, names)  # noqa: S102 - it is our own README

    assert run_wsgi(names["app"], wsgi_environ(knock()))[0] == 200
    assert capsys.readouterr().out == "shipments/delivered/SUCCESSFULLY_DELIVERED NT-20417\n"


def test_the_two_commands_are_single_lines_that_set_themselves_up() -> None:
    for command in blocks("sh"):
        assert command.count("\n") == 1
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install ")
    demo, tests = blocks("sh")
    assert demo.endswith("karla-receiver demo\n")
    assert tests.endswith("python -m pytest -n auto\n")


def test_it_stays_short() -> None:
    assert len(TEXT.splitlines()) < 80
