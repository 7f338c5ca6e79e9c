from __future__ import annotations

import io
import signal
import subprocess
import sys
from importlib.metadata import version

import pytest

from karla_receiver.cli import main
from karla_receiver.cli.shop import Adapter

MAIN = "from karla_receiver.cli import main; main()"
WITHOUT = "import sys; sys.modules[{!r}] = None; " + MAIN
# An endless table, so that the demo cannot be over before it is interrupted.
ENDLESS = """
from itertools import cycle
from karla_receiver.cli import demo
table = demo.all_deliveries
demo.all_deliveries = lambda *args, **kwargs: cycle(table(*args, **kwargs))
"""


def python(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.slow
@pytest.mark.parametrize("library", ["typer", "rich", "httpx2", "uvicorn", "waitress"])
def test_without_the_extra_it_says_how_to_install_it(library: str) -> None:
    run = python(WITHOUT.format(library), "demo")

    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr == f"{library} is missing: pip install 'karla-receiver[cli]'\n"


@pytest.mark.slow
def test_it_is_the_package_as_a_program_too() -> None:
    command = [sys.executable, "-m", "karla_receiver", "samples"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (run.returncode, run.stderr) == (0, "")
    assert "shipment_delivered" in run.stdout


@pytest.mark.slow
@pytest.mark.parametrize("library", ["pytest", "hypothesis", "pytest_httpserver"])
def test_it_needs_nothing_of_the_test_kits(library: str) -> None:
    assert python(WITHOUT.format(library), "send", "--help").returncode == 0


@pytest.mark.slow
def test_without_flask_only_the_demo_of_flask_is_missing() -> None:
    flask = python(WITHOUT.format("flask"), "demo", "--adapter", "flask")
    assert (flask.returncode, flask.stdout) == (2, "")
    assert flask.stderr == "flask is missing: pip install 'karla-receiver[flask]'\n"

    wsgi = python(WITHOUT.format("flask"), "demo", "--adapter", "wsgi")
    assert (wsgi.returncode, wsgi.stderr) == (0, "")


def test_a_module_that_no_extra_brings_is_not_explained_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "karla_receiver.cli.program", None)
    with pytest.raises(ModuleNotFoundError, match=r"karla_receiver\.cli\.program"):
        main()


def test_a_missing_library_is_told_in_this_process_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["karla-receiver", "demo", "--adapter", "flask"])
    monkeypatch.setitem(sys.modules, "flask", None)
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "karla-receiver[flask]" in capsys.readouterr().err


def test_an_interrupt_while_it_loads_leaves_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("karla_receiver.cli.program.program", interrupt)
    with pytest.raises(SystemExit, match="130"):
        main()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot be sent Ctrl-C alone")
@pytest.mark.parametrize("option", [f"--adapter={adapter}" for adapter in Adapter] + ["--json"])
def test_an_interrupt_stops_it_cleanly(option: str) -> None:
    command = [sys.executable, "-W", "error", "-c", ENDLESS + MAIN, "demo", option]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        while "claim_created" not in process.stdout.readline():
            pass
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)

    assert process.returncode == 130
    assert errors == ""
    assert "Every result" not in output
    assert '"summary"' not in output


@pytest.mark.slow
def test_its_output_may_be_closed_early() -> None:
    command = [sys.executable, "-W", "error", "-c", ENDLESS + MAIN, "demo", "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 0


@pytest.mark.slow
def test_nothing_but_its_own_rows_is_written() -> None:
    run = python(MAIN, "demo", "--json")

    assert run.stderr == ""
    assert all(line.startswith('{"type":') for line in run.stdout.splitlines())


@pytest.mark.slow
def test_a_character_that_the_terminal_lacks_is_escaped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    run = python(MAIN, "demo")

    assert run.returncode == 0
    assert r"\xd6L-0099" in run.stdout


def test_it_runs_where_output_is_no_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = io.StringIO()
    monkeypatch.setattr(sys, "stdout", output)
    monkeypatch.setattr(sys, "argv", ["karla-receiver", "--version"])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert output.getvalue() == f"karla-receiver {version('karla-receiver')}\n"


def test_help_names_the_program_the_commands_and_an_example() -> None:
    run = python(MAIN, "--help")

    assert run.returncode == 0
    assert "Usage: karla-receiver " in run.stdout
    assert "\n   karla-receiver demo " in run.stdout


@pytest.mark.slow
def test_without_a_command_it_shows_help_and_exits_with_2() -> None:
    run = python(MAIN)

    assert run.returncode == 2
    assert "Usage: karla-receiver " in run.stdout + run.stderr
