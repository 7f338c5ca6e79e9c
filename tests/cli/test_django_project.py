"""The programs in a Django project: `karla-receiver` and `manage.py`, as users start them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from karla_receiver.inbox import SQLiteInbox
from tests.cli.running import MAIN
from tests.inbox.stock import delivery, states
from tests.waiting import PATIENCE_SECONDS, until

import_module("tests.frameworks.django")  # sets Django up, for call_command

# Models can be imported when Django is set up, and not before.
FILES = {
    "settings.py": """
INSTALLED_APPS = ["django.contrib.contenttypes", "shop", "karla_receiver.adapters.django"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "shop.db"}}
SECRET_KEY = "of-these-tests"
USE_TZ = True
""",
    "manage.py": """
import os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
""",
    "shop/__init__.py": "",
    "shop/models.py": """
from django.db import models
class Order(models.Model):
    number = models.TextField()
""",
    "shop/hooks.py": """
from django.db import connection
from karla_receiver import Receiver
from karla_receiver.inbox import SQLiteInbox
from shop.models import Order
receiver = Receiver("secret-of-the-shop", inbox=SQLiteInbox("karla.db"))
@receiver.on("*")
def handle(event):
    with open("handled", "a") as file:
        file.write("open " if connection.connection else "closed ")
    Order.objects.count()
""",
}


@pytest.fixture(name="project")
def _project(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def start(project: Path, command: list[str], **variables: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "120", **variables}
    for name in {"DJANGO_SETTINGS_MODULE", "KARLA_WEBHOOK_SECRET"} - variables.keys():
        environment.pop(name, None)
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    output, errors = process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode, output, errors


@pytest.fixture(name="migrated")
def _migrated(project: Path) -> Path:
    command = ["manage.py", "migrate", "--run-syncdb", "--verbosity", "0"]
    status, _, errors = ended(start(project, command))
    assert status == 0, errors
    return project


WORKERS: dict[str, tuple[list[str], dict[str, str]]] = {
    "karla-receiver": (["-c", MAIN, "work"], {"DJANGO_SETTINGS_MODULE": "settings"}),
    "manage.py": (["manage.py", "karla_work"], {}),
    "manage.py --settings": (["manage.py", "karla_work", "--settings", "settings"], {}),
}


@pytest.fixture
def _kept(migrated: Path) -> None:
    inbox = SQLiteInbox(migrated / "karla.db")
    for number in range(2):
        inbox.put(delivery(str(number)))
    inbox.close()


@pytest.mark.slow
@pytest.mark.usefixtures("_kept")
@pytest.mark.parametrize(("command", "variables"), WORKERS.values(), ids=WORKERS)
def test_a_worker_runs_in_a_project_and_manages_its_connections(
    project: Path, command: list[str], variables: dict[str, str]
) -> None:
    process = start(project, [*command, "shop.hooks:receiver", "--threads", "1"], **variables)
    try:
        until(
            lambda: (
                process.poll() is not None or set(states(project / "karla.db").values()) == {"done"}
            )
        )
        process.send_signal(signal.SIGTERM)
        status, _, errors = ended(process)
    finally:
        process.kill()
    assert status == 0, errors
    assert (project / "handled").read_text() == "closed closed "


@pytest.mark.slow
def test_webhooks_sync_imports_a_receiver_of_a_project(project: Path) -> None:
    # Its settings come before the secret can be there.
    with (project / "settings.py").open("a") as settings:
        settings.write("import os\nKARLA_WEBHOOK_SECRET = os.environ['KARLA_WEBHOOK_SECRET']\n")
    for command, variables in (
        (["-c", MAIN, "webhooks"], {"DJANGO_SETTINGS_MODULE": "settings"}),
        (["manage.py", "karla_webhooks"], {"KARLA_WEBHOOK_SECRET": "secret-of-the-shop"}),
    ):
        arguments = ["sync", "https://shop.example/karla", "shop.hooks:nothing"]
        api = {"KARLA_SHOP_SLUG": "shop", "KARLA_API_KEY": "key"}
        status, _, errors = ended(start(project, [*command, *arguments], **api, **variables))
        assert status == 2
        assert "expected a Receiver at 'shop.hooks:nothing', and found nothing" in errors


@pytest.mark.slow
def test_settings_that_cannot_be_imported_are_told_in_a_line(project: Path) -> None:
    command = ["-c", MAIN, "work", "shop.hooks:receiver"]
    process = start(project, command, DJANGO_SETTINGS_MODULE="missing.settings")
    status, _, errors = ended(process)
    assert status == 2
    (line,) = errors.splitlines()
    assert line.startswith(
        "karla-receiver: setting up Django with DJANGO_SETTINGS_MODULE='missing.settings' failed"
    )
    assert line.endswith(": ModuleNotFoundError: No module named 'missing'")


@pytest.mark.slow
@pytest.mark.parametrize("asked", [["karla_work", "--help"], ["help", "karla_work"]])
def test_the_help_is_the_programs_under_the_name_in_manage_py(
    project: Path, asked: list[str]
) -> None:
    status, output, errors = ended(start(project, ["manage.py", *asked]))
    assert status == 0, errors
    assert "Usage: manage.py karla_work [OPTIONS]" in " ".join(output.split())
    assert "--threads" in output


@pytest.mark.slow
def test_wrong_usage_has_the_programs_status(project: Path) -> None:
    status, _, errors = ended(start(project, ["manage.py", "karla_inbox", "stats", "none.db"]))
    assert status == 2
    assert "none.db" in errors


def test_call_command_returns_or_raises(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "karla.db"
    inbox = SQLiteInbox(file)
    inbox.put(delivery("1"))
    inbox.close()

    call_command("karla_inbox", "stats", str(file), "--json")
    assert '"waiting":1' in capsys.readouterr().out
    with pytest.raises(CommandError, match="karla_inbox ended with status 2") as raised:
        call_command("karla_inbox", "stats", str(tmp_path / "none.db"))
    assert raised.value.returncode == 2
