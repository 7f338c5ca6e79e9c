"""Runs every block of every page in docs/, and checks what the pages tell.

A new page needs nothing here: its Python runs as one program, block by block, and what a block
prints must be the block of text that follows it. Commands must be ones that there are. A page that
needs more (a server, Karla) is run by a test of its own, named in OWN.
"""

from __future__ import annotations

import logging
import re
import shlex
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Generator
from http import HTTPStatus
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
import structlog
from markdown_it import MarkdownIt
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.registry import Collector

from karla_receiver import Reason, Receiver, Request, samples, sign
from karla_receiver.adapters.prometheus import PrometheusObserver
from karla_receiver.errors import STATUS
from karla_receiver.response import REFUSALS
from tests.doors import Knock, asgi_scope, run_asgi, run_wsgi, wsgi_environ

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
# Pages whose blocks are run by the test named, since they need more than to be run.
OWN = {
    "inbox.md": "test_docs_inbox.py",
    "many-machines.md": "many_machines/test_docs.py",
    "my-signature-does-not-match.md": "cli/test_signature_page.py",
    "register-an-endpoint.md": "test_docs_register.py",
    "start.md": "test_docs_start.py",
    "write-your-own-adapter.md": "test_guides.py",
}
# What a command may begin with: each is installed with the tests, and asked for its --help.
PROGRAMS = {"flask", "gunicorn", "karla-receiver", "uvicorn"}


class Block(NamedTuple):
    """A block of code: of a language, or indented and so of none."""

    language: str
    content: str


def name(page: Path) -> str:
    return str(page.relative_to(DOCS))


def blocks(page: Path) -> list[Block]:
    tokens = MarkdownIt().parse(page.read_text())
    kinds = {"fence", "code_block"}
    return [Block(token.info, token.content) for token in tokens if token.type in kinds]


def programs(page: Path) -> list[str]:
    return [block.content for block in blocks(page) if block.language == "python"]


def with_block(language: str) -> list[Path]:
    return [
        page
        for page in PAGES
        if name(page) not in OWN and any(block.language == language for block in blocks(page))
    ]


def run(program: str, names: dict[str, Any]) -> None:
    exec(program, names)  # noqa: S102 - it is our own page


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Generator[dict[str, Any]]:
    """Give a page a namespace; what it sets up for the whole process is undone afterwards."""
    registered: list[Collector] = []
    register = REGISTRY.register

    def remember(collector: Collector) -> None:
        register(collector)
        registered.append(collector)

    monkeypatch.setattr(REGISTRY, "register", remember)
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setenv("KARLA_WEBHOOK_SECRET", "your-webhook-secret")
    monkeypatch.chdir(tmp_path)
    level = logging.root.level
    yield {"__name__": "page"}
    logging.root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    for collector in registered:
        REGISTRY.unregister(collector)


@pytest.mark.parametrize("page", with_block("python"), ids=name)
def test_the_python_of_a_page_runs_and_prints_what_the_page_shows(
    page: Path, bench: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = blocks(page)
    for block, after in zip(shown, [*shown[1:], Block("", "")], strict=True):
        if block.language != "python":
            continue
        run(block.content, bench)
        printed = capsys.readouterr().out
        assert printed == (after.content if after.language == "text" else "")


def test_every_block_of_a_page_is_of_a_kind_that_is_run() -> None:
    for page in PAGES:
        if name(page) not in OWN:
            kinds = [block.language for block in blocks(page)]
            assert set(kinds) <= {"python", "sh", "text", ""}, page
            # Text is what Python printed, never something to believe.
            followed = [earlier for earlier, later in pairwise(kinds) if later == "text"]
            assert set(followed) <= {"python"}, page
            assert kinds[:1] != ["text"], page


def test_a_page_with_a_test_of_its_own_is_named_there() -> None:
    for page, test in OWN.items():
        assert (DOCS / page).exists()
        assert Path(page).name in (ROOT / "tests" / test).read_text().replace("OWN = {", "", 1)


# --- commands ------------------------------------------------------------------------------------


def commands(page: Path) -> list[list[str]]:
    """Return what a reader would type: the lines of sh, and indented lines of our programs."""
    found: list[list[str]] = []
    for block in blocks(page):
        for line in block.content.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True) if block.language in {"sh", ""} else []
            if words and (block.language == "sh" or words[0] in PROGRAMS):
                found.append([words[0].removeprefix(".venv/bin/"), *words[1:]])
    return found


ALL_COMMANDS = [
    pytest.param(command, id=f"{name(page)}: {' '.join(command[:3])}")
    for page in PAGES
    if name(page) not in OWN or name(page) == "start.md"
    for command in commands(page)
]


@pytest.mark.parametrize("command", ALL_COMMANDS)
def test_a_command_of_a_page_is_one_that_there_is(command: list[str]) -> None:
    program, *arguments = command
    if program == "python3":
        assert arguments == ["-m", "venv", ".venv"]
        return
    if program == "pip":
        assert arguments[0] == "install"  # of what: below
        return
    assert program in PROGRAMS
    # --help comes last, so that what comes before it has been parsed.
    ended = subprocess.run(
        [Path(sys.executable).parent / program, *arguments, "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    if program == "gunicorn":  # which looks at --help before it refuses what it does not know
        options = {word.partition("=")[0] for word in arguments if word.startswith("-")}
        assert all(option in ended.stdout for option in options)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_extra_that_a_page_names_exists(page: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for extras in re.findall(r"karla-receiver\[([\w,-]+)\]", page.read_text()):
        assert set(extras.split(",")) <= set(project["optional-dependencies"])


# --- links ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if ":" in link:
            assert re.fullmatch(r"https://[\w-]+(\.[\w-]+)+(/\S*)?", link), link
        else:
            # Whether the anchor is there too is found out when the site is built.
            assert (page.parent / link.partition("#")[0]).exists(), link


