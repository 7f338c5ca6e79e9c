"""Runs every block of every page in docs/, and checks where their links lead.

A new page needs nothing here: its Python runs as one program, block by block, and what a block
prints must be the block of text that follows it; or, if it defines tests, they are run by pytest.
A page that needs more (a server, Karla) is run by a module of its own, named in OWN. Commands are
run by test_docs_commands.py.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Generator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import structlog
from markdown_it import MarkdownIt
from prometheus_client import REGISTRY
from prometheus_client.registry import Collector

import karla_receiver

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PACKAGE = Path(karla_receiver.__file__).parent
PAGES = sorted(DOCS.rglob("*.md"))
# Pages that need more than to be run, and the modules that do so.
OWN = {
    **{f"guides/{path.name}": "test_guides.py" for path in (DOCS / "guides").glob("*.md")},
    "guides/other-frameworks.md": "test_other_frameworks.py",
    "inbox.md": "test_docs_inbox.py",
    "many-machines.md": "many_machines/test_docs.py",
    "my-signature-does-not-match.md": "cli/test_signature_page.py",
    "register-an-endpoint.md": "test_docs_register.py",
    "speed.md": "test_benchmarks.py",
    "start.md": "test_docs_start.py",
    "write-your-own-adapter.md": "test_guides.py",
}


class Block(NamedTuple):
    """A block of code: of a language, or indented and so of none."""

    language: str
    content: str


def name(page: Path) -> str:
    return str(page.relative_to(DOCS if page.is_relative_to(DOCS) else ROOT))


def blocks(page: Path) -> list[Block]:
    tokens = MarkdownIt().parse(page.read_text())
    kinds = {"fence", "code_block"}
    return [Block(token.info, token.content) for token in tokens if token.type in kinds]


def programs(page: Path) -> list[str]:
    return [block.content for block in blocks(page) if block.language == "python"]


def names_of_tests(page: Path) -> list[str]:
    return re.findall(r"^def (test_\w+)", "\n".join(programs(page)), re.MULTILINE)


# The pages that are run here: as programs, or by pytest.
HERE = [page for page in PAGES if name(page) not in OWN and programs(page)]
PLAYED = [page for page in HERE if not names_of_tests(page)]
TESTED = [page for page in HERE if names_of_tests(page)]


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


@pytest.mark.parametrize("page", PLAYED, ids=name)
def test_the_python_of_a_page_runs_and_prints_what_the_page_shows(
    page: Path, bench: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = blocks(page)
    for block, after in zip(shown, [*shown[1:], Block("", "")], strict=True):
        if block.language == "python":
            run(block.content, bench)
            printed = capsys.readouterr().out
            assert printed == (after.content if after.language == "text" else "")


@pytest.mark.slow
@pytest.mark.parametrize("page", TESTED, ids=name)
def test_the_tests_of_a_page_pass(page: Path, pytester: pytest.Pytester) -> None:
    names = names_of_tests(page)
    assert len(names) == len(set(names)), "a test would replace another"
    pytester.makepyfile("\n".join(programs(page)))

    pytester.runpytest_subprocess("-Werror").assert_outcomes(passed=len(names))


def test_every_block_is_of_a_kind_that_is_run() -> None:
    for page in PAGES:
        assert {block.language for block in blocks(page)} <= {"python", "sh", "text", ""}, page
    for page in {*ROOT.glob("*.md")} - {ROOT / "README.md"}:  # which test_readme.py runs
        assert {block.language for block in blocks(page)} <= {"sh", ""}, page


@pytest.mark.parametrize("page", PLAYED, ids=name)
def test_a_block_of_text_is_what_python_printed(page: Path) -> None:
    kinds = [block.language for block in blocks(page)]
    before = [earlier for earlier, later in pairwise(["", *kinds]) if later == "text"]
    assert set(before) <= {"python"}


def test_the_pages_are_run_in_each_of_the_ways() -> None:
    assert len(PLAYED) >= 8
    assert [name(page) for page in TESTED] == ["test-your-receiver.md"]


@pytest.mark.parametrize("page", OWN)
def test_a_page_that_is_not_run_here_is_run_by_a_module_of_its_own(page: str) -> None:
    assert (DOCS / page).exists()
    module = (ROOT / "tests" / OWN[page]).read_text()
    assert Path(page).name in module or (page.startswith("guides/") and '"guides"' in module)


# --- links ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [*PAGES, *ROOT.glob("*.md")], ids=name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if ":" in link:
            assert re.fullmatch(r"https://[\w-]+(\.[\w-]+)+(/\S*)?", link), link
        else:
            # Whether the anchor is there too is found out when the site is built.
            assert (page.parent / link.partition("#")[0]).exists(), link


# --- what is told --------------------------------------------------------------------------------

TOLD = [*PAGES, *ROOT.glob("*.md"), *(ROOT / "examples").glob("*.py"), *PACKAGE.rglob("*.py")]
# Karla documents neither, and concepts/answers.md says so; nobody can promise the third.
NOBODY_KNOWS = re.compile(
    r"\bKarla (sends|tries|retries|repeats)\b[^.]*\b(again|at least once)\b"
    r"|\bKarla retries\b|exactly.once.delivery",
    re.IGNORECASE,
)


@pytest.mark.parametrize("path", TOLD, ids=lambda path: str(path.name))
def test_nothing_is_told_of_repetitions_that_nobody_knows(path: Path) -> None:
    assert not NOBODY_KNOWS.search(" ".join(path.read_text().split()))
