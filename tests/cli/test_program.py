"""How every command ends, whatever happens in it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from karla_receiver.cli.output import mute_stdout
from karla_receiver.cli.program import program
from karla_receiver.cli.terminal import Terminal
from tests.cli.running import MAIN, run, run_into_closed_pipe, started
from tests.signing import SECRET

COMMANDS = (
    *("demo", "listen", "send", "replay", "sign", "verify", "explain", "diff", "drift", "samples"),
)

every_command = pytest.mark.parametrize("command", COMMANDS)


@every_command
def test_help_teaches_by_example_and_documents_the_exit_status(command: str) -> None:
    shown = run(command, "--help").output
    text = " ".join(shown.split())

    assert f"Examples: karla-receiver {command}" in text or f" karla-receiver {command} " in text
    assert "Exit status: 0" in text
    assert "2 for wrong usage" in text
    assert "--json" in text


@every_command
def test_help_fits_80_columns(command: str) -> None:
    environment = {"COLUMNS": "80", "NO_COLOR": "1"}
    shown = CliRunner().invoke(program, [command, "--help"], env=environment).stdout
    assert max(map(len, shown.splitlines())) <= 80
    # Examples stand as they were written: no line of them is folded into the next.
    assert f"\n   karla-receiver {command}" in shown


@pytest.mark.parametrize("command", ["", *COMMANDS, "webhooks", "webhooks create", "inbox list"])
def test_a_flag_asks_for_no_value_in_the_help(command: str) -> None:
    assert "bool" not in run(*command.split(), "--help").output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "own"),
    [("--help", set[str]()), ("samples", {"samples"}), ("sign shipment_delivered", {"sign"})],
)
def test_a_command_is_imported_when_it_is_used(command: str, own: set[str]) -> None:
    # Which imports sqlite3 by itself.
    without_coverage = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
    at_exit = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); "
    one = subprocess.run(
        [sys.executable, "-c", at_exit + MAIN, *command.split()],
        env={**without_coverage, "KARLA_WEBHOOK_SECRET": SECRET},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(one.stderr.split())
    assert not loaded & {"httpx2", "uvicorn", "waitress", "sqlite3"}
    assert not loaded & {"markdown_it", "pydantic", "pygments"}
    assert ("rich.console" in loaded) == (command == "--help")
    assert loaded & {f"karla_receiver.cli.{name}" for name in COMMANDS} == {
        f"karla_receiver.cli.{name}" for name in own
    }


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["inbox", "list", "k.db", "--state", "failled"], "'--state': 'failled' is not one of 'wa"),
        (["send", "--bad", "nonsense"], "'--bad': 'nonsense' is not one of 'forged', 'altered'"),
        (["inbox", "list", "k.db", "--limit", "0"], "'--limit': it must be greater than"),
        (["listen", "--port", "x"], "'--port': it must be a valid integer"),
    ],
)
def test_a_wrong_value_is_told_in_plain_words(arguments: list[str], told: str) -> None:
    wrong = run(*arguments)
    assert wrong.status == 2
    assert f"Invalid value for {told}" in wrong.told


def crash(error: Exception, monkeypatch: pytest.MonkeyPatch, *options: str) -> object:
    def fail(*arguments: object, **named: object) -> bytes:
        raise error

    monkeypatch.setattr("karla_receiver.cli.sign.content_of", fail)
    return CliRunner().invoke(program, [*options, "sign"], env={"KARLA_WEBHOOK_SECRET": SECRET})


def test_an_error_of_ours_leaves_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = crash(LookupError("private"), monkeypatch)
    assert getattr(ended, "exit_code", None) == 70
    assert getattr(ended, "stderr", None) == (
        "internal error: LookupError; `karla-receiver --debug` shows where\n"
    )


@pytest.mark.parametrize("error", [LookupError("here"), OSError("here")])
def test_with_debug_it_is_raised_as_it_is(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = crash(error, monkeypatch, "--debug")
    assert getattr(ended, "exception", None) is error


@pytest.mark.parametrize("arguments", [["sign", "--debug"], ["inbox", "stats", "x", "--debug"]])
def test_debug_after_the_command_is_told_where_it_goes(arguments: list[str]) -> None:
    wrong = run(*arguments)
    assert wrong.status == 2
    assert "--debug goes before the command, as in `karla-receiver --debug send`" in wrong.told


def test_another_option_that_there_is_none_of_is_told_as_ever() -> None:
    assert "No such option: --debugging" in run("sign", "--debugging").told


def test_an_error_of_the_system_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for error, message in (
        (OSError(28, "No space left on device"), "No space left on device"),
        (PermissionError(13, "Permission denied", "/x"), "/x: Permission denied"),
    ):
        ended = crash(error, monkeypatch)
        assert getattr(ended, "exit_code", None) == 2
        told = getattr(ended, "stderr", "")
        assert told.startswith("karla-receiver: ")
        assert told.endswith(f"{message}\n")


@pytest.mark.parametrize("error", [typer.Abort(), ModuleNotFoundError(name="flask")])
def test_what_others_see_to_goes_through(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = crash(error, monkeypatch)
    assert getattr(ended, "exit_code", None) == 1
    assert "internal error" not in getattr(ended, "stderr", "")


def test_a_closed_pipe_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = crash(BrokenPipeError(), monkeypatch)
    assert (getattr(ended, "exit_code", None), getattr(ended, "stderr", None)) == (0, "")


def test_text_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().print("[red]:smile: 1234[/red]")
    assert capsys.readouterr().out == "[red]:smile: 1234[/red]\n"


def test_a_closed_pipe_is_left_to_the_program() -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    terminal = Terminal()
    terminal.file = Closed()
    with pytest.raises(BrokenPipeError):
        terminal.print("a row")


@pytest.mark.slow
def test_nothing_more_is_written_to_a_closed_pipe(tmp_path: Path) -> None:
    target = tmp_path / "out"
    program_text = (
        "import sys; from karla_receiver.cli.output import mute_stdout;"
        "print('before', flush=True); mute_stdout(); print('after')"
    )
    with target.open("wb") as file:
        subprocess.run([sys.executable, "-c", program_text], stdout=file, check=True)
    assert target.read_text() == "before\n"


def test_what_is_no_file_needs_no_muting(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    mute_stdout()
    with Path(os.devnull).open("w") as nowhere:
        monkeypatch.setattr(sys, "stdout", nowhere)
        mute_stdout()
    os.write(1, b"still there")
    assert capfd.readouterr().out == "still there"


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["samples"],
        *(
            pytest.param(arguments, marks=pytest.mark.slow)
            for arguments in (["samples", "--json"], ["--help"], ["--version"], ["send", "--help"])
        ),
    ],
)
def test_its_output_may_be_closed_early(arguments: list[str]) -> None:
    assert run_into_closed_pipe(*arguments) == (0, "", "")


@pytest.mark.slow
def test_no_color_is_honoured_even_by_a_terminal() -> None:
    colourful = {"FORCE_COLOR": "1", "TERM": "xterm", "KARLA_WEBHOOK_SECRET": SECRET}
    outputs: list[str] = []
    for variables in (colourful, {**colourful, "NO_COLOR": "1"}):
        with started("verify", "shipment_delivered", "--signature", "x", **variables) as process:
            outputs.append(process.communicate(timeout=60)[0])
    assert "\x1b[31m" in outputs[0]
    assert "\x1b[31m" not in outputs[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("typed", "completed"),
    [("karla-receiver sa", "samples"), ("karla-receiver send --bad for", "forged")],
)
def test_the_shell_completes_commands_and_choices(typed: str, completed: str) -> None:
    variables = {
        "_KARLA_RECEIVER_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(typed.count(" ")),
    }
    with started(**variables) as process:
        assert process.communicate(timeout=60)[0].split() == [completed]


@pytest.mark.slow
def test_without_debug_no_command_shows_a_traceback() -> None:
    with started("sign", "nothing.json", KARLA_WEBHOOK_SECRET=SECRET) as process:
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (2, "")
    assert "Traceback" not in errors
    with started("--debug", "sign", "nothing.json", KARLA_WEBHOOK_SECRET=SECRET) as process:
        _, errors = process.communicate(timeout=60)
    assert "Traceback" in errors
    assert SECRET not in errors


@pytest.mark.parametrize(
    ("mistyped", "meant"), [("sned", "send"), ("webhoks", "webhooks"), ("karla_workk", None)]
)
def test_a_mistyped_command_is_guessed(mistyped: str, meant: str | None) -> None:
    wrong = run(mistyped)
    assert wrong.status == 2
    assert f"No such command '{mistyped}'." in wrong.told
    assert ("Did you mean" in wrong.told) == (meant is not None)
    assert meant is None or meant in wrong.told


def test_the_completion_of_an_unknown_command_is_empty() -> None:
    group: Any = typer.main.get_command(program)
    context = typer.Context(group, resilient_parsing=True)
    assert group.resolve_command(context, ["nonsense"])[1] is None
