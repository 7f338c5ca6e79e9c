"""A command starts without the libraries that it does not use, and works as it would with them."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import pytest
import rich.markdown
import rich.traceback
import typer
import typer.rich_utils
from rich.markdown import Markdown
from rich.traceback import Traceback

from karla_receiver.cli import start_up
from karla_receiver.cli.start_up import import_help, leave_text_as_it_is


@pytest.fixture
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typer, "rich_utils", typer.rich_utils)
    monkeypatch.setattr(rich, "markdown", rich.markdown)
    monkeypatch.setattr(rich, "traceback", rich.traceback)
    for name in ("typer.rich_utils", "rich.markdown", "rich.traceback"):
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.usefixtures("_forgotten")
def test_the_help_is_imported_without_what_it_does_not_use() -> None:
    import_help()
    assert "typer.rich_utils" in sys.modules
    assert not {"rich.markdown", "rich.traceback"} & set(sys.modules)


@pytest.mark.usefixtures("_forgotten")
def test_what_is_put_off_is_there_when_it_is_used() -> None:
    import_help()
    utilities: Any = sys.modules["typer.rich_utils"]
    assert type(utilities.Markdown("*text*")).__module__ == Markdown.__module__
    shown = utilities.Traceback.from_exception(LookupError, LookupError("shown"), None)
    assert type(shown).__module__ == Traceback.__module__


@pytest.mark.usefixtures("_forgotten")
def test_what_is_imported_already_is_not_put_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.markdown", rich.markdown)
    import_help()
    utilities: Any = sys.modules["typer.rich_utils"]
    assert utilities.Markdown is Markdown
    assert sys.modules["rich.markdown"] is rich.markdown
    import_help()
    assert sys.modules["typer.rich_utils"] is utilities


@pytest.mark.usefixtures("_forgotten")
def test_a_typer_that_wants_more_imports_it_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start_up, "_UNUSED_IN_HELP", (("rich.markdown", "Another"),))
    import_help()
    assert not {"typer.rich_utils", "rich.markdown"} & set(sys.modules)


def describe(
    name: str,
    words: Annotated[list[str] | None, typer.Argument()] = None,
    parsed: Annotated[str, typer.Option(parser=str.upper)] = "default",
    number: Annotated[int | None, typer.Option()] = None,
    others: Annotated[list[str] | None, typer.Option()] = None,
) -> None:
    typer.echo(repr((name, words, parsed, number, others)))


def command() -> Any:
    program = typer.Typer(add_completion=False)
    program.command()(describe)
    return typer.main.get_command(program)


@pytest.mark.parametrize(
    "arguments",
    [
        ["text"],
        ["text", "a", "b"],
        ["text", "--number", "3"],
        ["text", "--number", "three"],
        ["text", "--parsed", "low"],
        ["text", "--others", "a", "--others", "b"],
        [],
    ],
    ids=str,
)
def test_every_value_is_what_it_was(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes: list[Any] = []
    for is_quick in (False, True):
        ours = command()
        if is_quick:
            leave_text_as_it_is(ours.params)
            leave_text_as_it_is(ours.params)  # as often as it is asked for its parameters
        with pytest.raises(SystemExit) as ended:
            ours.main(arguments, prog_name="program")
        outcomes.append((ended.value.code, capsys.readouterr()))
    assert outcomes[0] == outcomes[1]


def test_a_parameter_of_another_typer_is_left_alone() -> None:
    class Another:
        pass

    another = Another()
    leave_text_as_it_is([another])
    assert vars(another) == {}
