"""Runs the pages of docs/: all Python of a page is one module, and its tests are run by pytest."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

pytest_plugins = ["pytester"]

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
# These need more than Python: each has a test module of its own.
OWN_TESTS = {
    "inbox.md": "test_docs_inbox.py",
    "many-machines.md": "many_machines/test_docs.py",
    "my-signature-does-not-match.md": "cli/test_signature_page.py",
    "register-an-endpoint.md": "test_docs_register.py",
    "write-your-own-adapter.md": "test_guides.py",  # and so has each of guides/
}
# Python is run; text is output to look at; a command is for the reader's shell.
LANGUAGES = {"python", "text", "sh"}


def blocks(page: Path, language: str) -> list[str]:
    fences = [token for token in MarkdownIt().parse(page.read_text()) if token.type == "fence"]
    assert {token.info for token in fences} <= LANGUAGES
    return [token.content for token in fences if token.info == language]


def names_of_tests(program: str) -> list[str]:
    return re.findall(r"^def (test_\w+)", program, re.MULTILINE)


def test_a_page_that_is_not_run_here_is_run_by_a_module_of_its_own() -> None:
    for page, module in OWN_TESTS.items():
        assert page in (Path(__file__).parent / module).read_text()


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.name not in OWN_TESTS and page.parent == DOCS],
    ids=lambda page: page.stem,
)
def test_the_python_of_a_page_runs(page: Path, pytester: pytest.Pytester) -> None:
    program = "\n".join(blocks(page, "python"))
    names = names_of_tests(program)
    assert len(names) == len(set(names)), "a test would replace another"
    # One of our own, so that a page without tests is run as well.
    pytester.makepyfile(f"{program}\n\ndef test_that_the_page_was_run(): pass\n")

    result = pytester.runpytest_subprocess("-Werror")

    result.assert_outcomes(passed=len(names) + 1)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        assert link.startswith("https://") or (page.parent / link.partition("#")[0]).exists()


def test_there_are_pages_with_python() -> None:
    assert sum(len(blocks(page, "python")) for page in PAGES) >= 6
