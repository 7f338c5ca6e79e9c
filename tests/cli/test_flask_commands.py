"""The programs as commands of a Flask app: `flask karla`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from karla_receiver.adapters.flask import Karla
from karla_receiver.inbox import SQLiteInbox
from karla_receiver.testing.fake_karla import FakeKarla
from tests.cli.running import run
from tests.inbox.stock import delivery, states
from tests.waiting import PATIENCE_SECONDS, until

# A factory, as `flask` finds it: there is no receiver to import.
SHOP = """
from flask import Flask, current_app
from karla_receiver.adapters.flask import Karla
from karla_receiver.inbox import SQLiteInbox
karla = Karla()
@karla.on("*")
def handle(event):
    with open("handled", "a") as file:
        file.write(f"{current_app.name} ")
def create_app():
    app = Flask(__name__)
    karla.init_app(app, inbox=SQLiteInbox("karla.db"))
    return app
"""


def flask(*arguments: str, **options: Any) -> Any:
    """Run `flask karla` of an app in this process."""
    app = Flask("shop")
    Karla().init_app(app, **options).on("shipments/delivered", "claims")(lambda event: None)
    environment = {"NO_COLOR": "1", "COLUMNS": "120"}
    return app.test_cli_runner().invoke(args=["karla", *arguments], env=environment)


@pytest.mark.parametrize("program", ["work", "inbox", "webhooks"])
def test_the_help_is_the_programs_under_the_name_in_flask(program: str) -> None:
    assert program in flask("--help").output
    told = flask(program, "--help")
    assert told.exit_code == 0
    assert f"Usage: flask karla {program} [OPTIONS]" in " ".join(told.output.split())


def test_a_program_has_its_own_arguments_and_status(tmp_path: Path) -> None:
    file = tmp_path / "karla.db"
    inbox = SQLiteInbox(file)
    inbox.put(delivery("1"))
    inbox.close()

    ended = flask("inbox", "stats", str(file), "--json")
    assert (ended.exit_code, '"waiting":1' in ended.output) == (0, True)
    ended = flask("inbox", "stats", str(tmp_path / "none.db"))
    assert (ended.exit_code, "none.db" in ended.output) == (2, True)


def test_an_app_without_an_inbox_has_no_work() -> None:
    ended = flask("work")
    assert ended.exit_code == 2
    assert "'the app' has no SQLiteInbox to work on" in ended.output


def test_sync_registers_what_the_handlers_of_the_app_need(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeKarla() as fake:
        for name, value in fake.environ.items():
            monkeypatch.setenv(name, value)
        ended = flask("webhooks", "sync", "https://shop.example/karla", "--yes")
        assert ended.exit_code == 0, ended.output
        listed = flask("webhooks", "list", "--json")
    assert json.loads(listed.output)["enabled_events"] == ["shipments/delivered", "claims"]


def test_without_an_app_the_receiver_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KARLA_SHOP_SLUG", "shop")
    monkeypatch.setenv("KARLA_API_KEY", "key")
    for arguments in (["work"], ["webhooks", "sync", "https://shop.example/karla"]):
        ended = run(*arguments)
        assert ended.status == 2
        assert "write where your receiver is, as in shop.app:receiver" in ended.told


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("karla_receiver.cli.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "typer", None)
    ended = flask("work")
    assert ended.exit_code == 2
    assert ended.output == "typer is missing: pip install 'karla-receiver[cli]'\n"


@pytest.mark.slow
def test_a_worker_runs_with_the_inbox_of_a_factorys_app(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    inbox = SQLiteInbox(tmp_path / "karla.db")
    for number in range(2):
        inbox.put(delivery(str(number)))
    inbox.close()
    command = [sys.executable, "-m", "flask", "--app", "shop", "karla", "work", "--threads", "1"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if "KARLA" not in name},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(
            lambda: (
                process.poll() is not None
                or set(states(tmp_path / "karla.db").values()) == {"done"}
            )
        )
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    assert "handling the inbox of the app with 1 thread" in errors
    assert (tmp_path / "handled").read_text() == "shop shop "
