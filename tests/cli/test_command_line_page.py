"""The page of the command line names every command, with the exit statuses of its help."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from karla_receiver.cli.program import program
from tests.cli.running import run

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "command-line.md"
ROWS = dict(re.findall(r"^\| `([a-z ]+)` \|[^|]*\| ([^|]*) \|$", PAGE.read_text(), re.MULTILINE))


def names_in(group: Any, *before: str) -> list[str]:
    found: list[str] = []
    for name in group.commands:
        _, command, _ = group.resolve_command(typer.Context(group), [name])
        path = (*before, name)
        found += names_in(command, *path) if hasattr(command, "commands") else [" ".join(path)]
    return found


def test_the_page_names_every_command_and_no_other() -> None:
    assert sorted(ROWS) == sorted(names_in(typer.main.get_command(program)))


def test_the_list_of_commands_has_the_first_sentence_of_each() -> None:
    group: Any = typer.main.get_command(program)
    for name, listed in group.commands.items():
        _, command, _ = group.resolve_command(typer.Context(group), [name])
        assert listed.help == command.help.partition("\n")[0]


@pytest.mark.parametrize("command", ROWS)
def test_the_help_has_examples_and_the_exit_statuses_of_the_page(command: str) -> None:
    told = " ".join(run(*command.split(), "--help").output.split())
    assert re.search(rf"Examples?:.* karla-receiver {command}\b", told)
    statuses = re.search(r"Exit status: ([^\u256d]*)\. ", told)
    assert statuses is not None
    assert ROWS[command] == statuses[1]
