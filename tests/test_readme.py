"""Runs what the README shows, and checks what it tells."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from karla_receiver import Receiver, samples, sign
from karla_receiver.errors import STATUS
from tests.doors import Knock, asgi_scope, run_asgi, run_wsgi, wsgi_environ

README = Path(__file__).parent.parent / "README.md"
TEXT = README.read_text()
SECRET = "your-webhook-secret"
BODY = samples.read("shipment_delivered")


def knock() -> Knock:
    return Knock(headers=[("Karla-Signature", sign(BODY, SECRET))], body=BODY)


def blocks(language: str) -> list[str]:
    fences = [token for token in MarkdownIt().parse(TEXT) if token.type == "fence"]
    return [token.content for token in fences if token.info == language]


def run(*programs: str, **names: Any) -> dict[str, Any]:
    names["__name__"] = "readme"
    for program in programs:
        exec(program, names)  # noqa: S102 - it is our own README
    return names


def test_every_block_is_of_a_kind_that_is_run() -> None:
    fences = [token.info for token in MarkdownIt().parse(TEXT) if token.type == "fence"]
    assert sorted(fences) == ["python"] * 4 + ["sh"] * 2


def test_the_flask_receiver_works(capsys: pytest.CaptureFixture[str]) -> None:
    app = run(blocks("python")[0])["app"]

    assert run_wsgi(app, wsgi_environ(knock()))[0] == 200
    assert capsys.readouterr().out == "shipments/delivered/SUCCESSFULLY_DELIVERED NT-20417\n"


def test_the_asgi_and_wsgi_receivers_work(capsys: pytest.CaptureFixture[str]) -> None:
    _, handlers, asgi, wsgi = blocks("python")
    for program in (asgi, wsgi):
        names = run(handlers, program, app=lambda *arguments: pytest.fail("the app was called"))
        app = names["app"]
        if program is asgi:
            message = {"type": "http.request", "body": BODY}
            assert run_asgi(app, asgi_scope(knock()), iter([message]))[0]["status"] == 200
        else:
            assert run_wsgi(app, wsgi_environ(knock()))[0] == 200
        assert isinstance(names["receiver"], Receiver)
        assert names["receiver"].enabled_events == ["shipments/delivered", "claims"]
    assert capsys.readouterr().out == "NT-20417 JJD000390012345678901\n" * 2


def test_the_two_commands_are_single_lines_that_set_themselves_up() -> None:
    for command in blocks("sh"):
        assert command.count("\n") == 1
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install ")
    demo, tests = blocks("sh")
    assert demo.endswith("karla-receiver demo\n")
    assert tests.endswith("python -m pytest\n")


def test_the_table_of_answers_is_the_one_in_the_code() -> None:
    rows = re.findall(r"^\| (\d{3}|\u2013) \| (.+?) \|", TEXT, re.MULTILINE)
    told = {
        reason: None if status == "\u2013" else int(status)
        for status, reasons in rows
        for reason in re.findall(r"`(\w+)`", reasons)
    }
    assert told == {str(reason): status for reason, status in STATUS.items()}


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)]+)\)", TEXT))
def test_every_link_leads_somewhere(link: str) -> None:
    assert link.startswith("https://") or (README.parent / link).exists()
