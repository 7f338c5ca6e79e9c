"""What users import: from where the reference says that it is promised, and nothing deeper."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module

import pytest

import karla_receiver
from karla_receiver import errors
from tests.test_docs import DOCS, PACKAGE, PAGES, ROOT, programs

REFERENCE = "\n".join(page.read_text() for page in (DOCS / "reference").glob("*.md"))


def sources() -> Iterator[str]:
    """Yield every program that a user may copy."""
    for page in [*PAGES, ROOT / "README.md"]:
        yield from programs(page)
    for example in (ROOT / "examples").glob("*.py"):
        yield example.read_text()


IMPORTED = sorted(
    {
        (node.module, alias.name)
        for source in sources()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("karla_receiver")
        for alias in node.names
    }
)


@pytest.mark.parametrize(("module", "name"), IMPORTED)
def test_what_the_docs_and_examples_import_is_promised(module: str, name: str) -> None:
    if name in import_module(module).__all__:
        assert module == "karla_receiver" or module in REFERENCE
    else:
        assert f"{module}.{name}" in REFERENCE


def test_every_error_can_be_caught_without_looking_deeper() -> None:
    assert {*errors.__all__} - {"STATUS"} <= {*karla_receiver.__all__}
    assert all(hasattr(karla_receiver, name) for name in karla_receiver.__all__)


def test_the_order_of_reading_names_what_there_is() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    table = text.partition("## Read in this order")[2].partition("\n## ")[0]
    rows = "\n".join(line for line in table.splitlines() if line.startswith("|"))
    named = re.findall(r"`([\w/]+(?:\.py|/))`", rows)

    assert len(named) > 20
    assert all((PACKAGE / path).exists() for path in named)
