"""Has every command that the pages, the README and CONTRIBUTING show parsed by its own program.

A command is a line of sh, or an indented line. It is run with --help at its end, so that what comes
before has been parsed; or, if its program takes no arguments, it must have none. Those that are run
as processes are slow.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.cli.running import run
from tests.test_docs import PACKAGE, PAGES, ROOT, blocks, name

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SCRIPTS = Path(sys.executable).parent
WITH_COMMANDS = [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
# Whose sh is run as one script, from the first line to the last, by the module that OWN names.
RUN_WHOLE = {"register-an-endpoint.md"}
# Installed with the tests, with a parser that refuses what it does not know before it helps.
PROGRAMS = {"celery", "quart", "uvicorn"}
# What a process is started for.
STARTED = {*PROGRAMS, "flask", "gunicorn", "pip", "python"}
# manage.py of a project that has our app.
MANAGE = """
import sys
from django.conf import settings
from django.core.management import execute_from_command_line
settings.configure(INSTALLED_APPS=["karla_receiver.adapters.django"])
execute_from_command_line(["manage.py", *sys.argv[1:]])
"""
# flask of a project whose app has our extension.
FLASK = """
from flask import Flask
from flask.cli import FlaskGroup
from karla_receiver.adapters.flask import Karla
app = Flask("shop")
Karla(app)
FlaskGroup(create_app=lambda: app)()
"""
# What stands alone on an indented line, and is no command.
SETTING = re.compile(r"(KARLA_\w+)=\S+")
HEADER = re.compile(r"Karla-Signature: t=\d+,v1=\S+")
METRIC = re.compile(r"\bkarla_[a-z_]+")
# Where a variable of the environment is read.
READERS = [*PACKAGE.glob("*.py"), *(ROOT / "tests").rglob("*.py")]


class Command(NamedTuple):
    """One program and its arguments, and the folder that the line went to before."""

    folder: Path
    program: str
    arguments: tuple[str, ...]


def is_shown_only(line: str) -> bool:
    """Return whether an indented line is no command; what it names must be there."""
    if HEADER.fullmatch(line):
        return True
    if setting := SETTING.fullmatch(line):
        return any(f'"{setting[1]}"' in path.read_text() for path in READERS)
    metrics = METRIC.findall(line)
    observer = (PACKAGE / "adapters" / "prometheus.py").read_text()
    return bool(metrics) and all(f'"{metric}"' in observer for metric in metrics)


def commands_in(line: str) -> list[Command]:
    """Return the commands of a line: those on both sides of &&, and its variables as exports."""
    folder, found = ROOT, list[Command]()
    for part in re.split(r"\s+&&\s+", line):
        words = shlex.split(part, comments=True)
        while words and re.match(r"[A-Z_]+=", words[0]):
            found.append(Command(folder, "export", (words.pop(0),)))
        if words[:1] == ["cd"]:
            folder = ROOT / words[1]
        elif words:
            found.append(Command(folder, words[0].removeprefix(".venv/bin/"), tuple(words[1:])))
    return found


def commands(page: Path) -> list[Command]:
    found: list[Command] = []
    for block in blocks(page):
        if block.language == "" or (block.language == "sh" and name(page) not in RUN_WHOLE):
            for line in block.content.replace("\\\n", " ").splitlines():
                if block.language or not is_shown_only(line):
                    found += commands_in(line)
    return found


def marks_of(command: Command) -> list[pytest.MarkDecorator]:
    return [pytest.mark.slow] if command.program in STARTED else []


# The page that shows it last names a command that several show.
PAGE_OF = {command: page for page in WITH_COMMANDS for command in commands(page)}
ALL_COMMANDS = [
    pytest.param(
        command,
        id=f"{name(page)}: {command.program} {' '.join(command.arguments[:2])}",
        marks=marks_of(command),
    )
    for command, page in PAGE_OF.items()
]


def help_of(folder: Path, *words: object) -> str:
    ended = subprocess.run(
        [*map(str, words), "--help"], cwd=folder, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def require_options(arguments: Iterable[str], told: str) -> None:
    """Check what a parser leaves unchecked that helps as soon as it meets --help."""
    options = {word.partition("=")[0] for word in arguments if word.startswith("-")}
    assert all(re.search(rf"(^|[\s,\[]){re.escape(option)}\b", told) for option in options)


def parse_bash(command: Command) -> None:
    subprocess.run(["bash", "-n", *command.arguments], cwd=ROOT, check=True)  # noqa: S607


def parse_export(command: Command) -> None:
    (variable,) = command.arguments
    assert is_shown_only(variable.replace(" ", "-"))


def parse_python3(command: Command) -> None:
    assert command.arguments == ("-m", "venv", ".venv")


def parse_pip(command: Command) -> None:
    help_of(ROOT, sys.executable, "-m", "pip", *command.arguments)
    groups = re.findall(r"--group (\S+)", " ".join(command.arguments))
    assert {*groups} <= {*PROJECT["dependency-groups"]}


def parse_python(command: Command) -> None:
    """Parse `python -m module` and `python file`; what has no parser must be given nothing."""
    if command.arguments[0] == "-m":
        _, target, *arguments = command.arguments
        spec = find_spec(target)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = find_spec(f"{target}.__main__")
        assert spec is not None
        assert spec.origin is not None
        file, words = Path(spec.origin), ["-m", target]
    elif command.arguments[0] == "shop.py":  # which the page has the reader write
        assert command.arguments == ("shop.py",)
        return
    elif command.arguments[0] == "manage.py":  # which every project in Django has
        help_of(ROOT, sys.executable, "-c", MANAGE, *command.arguments[1:])
        return
    else:
        target, *arguments = command.arguments
        file, words = ROOT / target, [target]
    source = file.read_text()
    assert '__name__ == "__main__"' in source
    if target != "pytest" and "argparse" not in source:
        assert arguments == []
        return
    require_options(arguments, help_of(ROOT, sys.executable, *words, *arguments))
    if target == "pytest":
        assert all((ROOT / path).exists() for path in arguments if path.startswith("tests"))


def parse_flask(command: Command) -> None:
    if command.arguments[2:3] == ("karla",):
        help_of(ROOT, sys.executable, "-c", FLASK, *command.arguments)
    else:
        help_of(command.folder, SCRIPTS / "flask", *command.arguments)


def parse_gunicorn(command: Command) -> None:
    told = help_of(ROOT, SCRIPTS / "gunicorn", *command.arguments)
    require_options(command.arguments, told)


def parse_nox(command: Command) -> None:
    option, *session = command.arguments[:2]
    if option == "-s":
        assert f"def {session[0]}(" in (ROOT / "noxfile.py").read_text()
    else:
        assert option == "-l"


def parse_ours(command: Command) -> None:
    assert run(*command.arguments, "--help").status == 0


PARSE: dict[str, Callable[[Command], None]] = {
    "bash": parse_bash,
    "export": parse_export,
    "flask": parse_flask,
    "gunicorn": parse_gunicorn,
    "karla-receiver": parse_ours,
    "nox": parse_nox,
    "pip": parse_pip,
    "python": parse_python,
    "python3": parse_python3,
}


def parse(command: Command) -> None:
    """Have the program itself parse the command. Fails for a program that is not known here."""
    if command.program in PARSE:
        PARSE[command.program](command)
    else:
        assert command.program in PROGRAMS
        help_of(command.folder, SCRIPTS / command.program, *command.arguments)


@pytest.fixture(autouse=True)
def _a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KARLA_WEBHOOK_SECRET", "try-me-try-me-16")  # which the examples read


@pytest.mark.parametrize("command", ALL_COMMANDS)
def test_a_command_is_one_that_its_program_takes(command: Command) -> None:
    parse(command)


NO_COMMANDS = [
    "rm -rf .",
    "karla-reciever demo",
    "KARLA_WEBHOOK_SERCET=a",
    "rate(karla_delivery_total[5m])",
    "cd nowhere && uvicorn shop:app",
    "karla-receiver send --two https://shop.example",
    "uvicorn shop:app --prot 80",
    "gunicorn shop:app --forwarded-ips 10.0.0.5",
    "celery -A many_machines werker",
    "flask --app shop rum",
    "flask --app shop karla wrok",
    "pip install --grup docs",
    "pip install --group dogs",
    "python -m benchmarks --lony receive",
    "python -m benchmark",
    "python manage.py runsever",
    "python shop.py --port 80",
    "python -m fuzzing signatur",
    "python -m pytest tests/server",
    "python -m karla_receiver.testing.fake_karla --prot 80",
    "python .ci/build_site.py docs",
    "bash .ci/runs",
    "nox -s tipes",
]


@pytest.mark.parametrize(
    "line",
    [pytest.param(line, marks=marks_of(commands_in(line)[-1])) for line in NO_COMMANDS],
)
def test_a_command_that_there_is_not_is_noticed(line: str) -> None:
    assert not is_shown_only(line)
    with pytest.raises((AssertionError, OSError, subprocess.CalledProcessError)):
        parse(commands_in(line)[-1])


def test_commands_are_found_in_every_kind_of_page() -> None:
    assert len(ALL_COMMANDS) > 25
    for page in ("README.md", "CONTRIBUTING.md", "docs/speed.md", "docs/many-machines.md"):
        assert commands(ROOT / page)


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=name)
def test_every_extra_that_a_page_names_exists(page: Path) -> None:
    for extras in re.findall(r"(?:karla-receiver|-e \"\.)\[([\w,-]+)\]", page.read_text()):
        assert {*extras.split(",")} <= {*PROJECT["project"]["optional-dependencies"]}
