"""Runs what the page about many machines shows."""

from __future__ import annotations

import re
from typing import Any

import pytest
from markdown_it import MarkdownIt

from karla_receiver import parse_event
from tests.many_machines.machines import ROOT
from tests.signing import BODY, DOCS_SECRET, signed

PAGE = ROOT / "docs" / "many-machines.md"
TEXT = PAGE.read_text()


def block(language: str) -> str:
    fences = [token for token in MarkdownIt().parse(TEXT) if token.type == "fence"]
    assert sorted(token.info for token in fences) == ["python", "sh", "text"]
    (content,) = [token.content for token in fences if token.info == language]
    return content


def test_the_module_works(capsys: pytest.CaptureFixture[str]) -> None:
    # The servers are those of this test: none. All else is as the page has it.
    program = re.sub(r"(amqp|redis)://[^\"]+", r"\1://127.0.0.1:1/", block("python"))
    names: dict[str, Any] = {"__name__": "page"}
    exec(program, names)  # noqa: S102 - it is our own page
    request = signed(secret=DOCS_SECRET)

    assert names["receiver"].receive(request).status == 503
    assert names["receiver"].enabled_events == ["shipments/delivered"]
    names["thank_the_customer"](parse_event(BODY))
    assert capsys.readouterr().out == "NT-20417\n"


def test_the_commands_are_the_examples_own() -> None:
    head = (ROOT / "examples" / "many_machines.py").read_text()[:900]

    assert len(block("sh").splitlines()) == 2
    assert all(command in head for command in block("sh").splitlines())
