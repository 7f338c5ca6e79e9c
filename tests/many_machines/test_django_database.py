"""Handlers in a Django project, while its database restarts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.inbox.stock import states
from tests.many_machines.postgresql_server import PostgreSQL
from tests.signing import SECRET
from tests.waiting import PATIENCE_SECONDS, until

pytestmark = pytest.mark.slow

FILES = {
    "settings.py": """
ALLOWED_HOSTS = ["testserver"]
# The connection of a thread lasts, and nothing asks whether it still works.
LASTING = {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": False}
INSTALLED_APPS = ["karla_receiver.adapters.django"]
ROOT_URLCONF = "hooks"
SECRET_KEY = "of-these-tests"
USE_TZ = True
""",
    "hooks.py": """
import os
from django.db import connection
from django.urls import path
from karla_receiver.adapters.django import endpoint, receiver_from_settings
from karla_receiver.inbox import SQLiteInbox

inbox = SQLiteInbox("karla.db", workers=int(os.environ.get("WORKERS", "0")))
receiver = receiver_from_settings(inbox=inbox)

@receiver.on("*")
def insert(event):
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO orders VALUES (%s)", [event.raw["number"]])

urlpatterns = [path("webhooks/karla", endpoint(receiver))]
""",
    # Posts a delivery for each line that it reads, and says what each was answered.
    "web.py": """
import os, sys
import django
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
django.setup()
from django.conf import settings
from django.test import Client
from karla_receiver import sign
BODY = '{"event_group":"parcel","ref":"parcels/sent","number":"%s"}'
for line in sys.stdin:
    body = (BODY % line.strip()).encode()
    headers = {"karla-signature": sign(body, settings.KARLA_WEBHOOK_SECRET)}
    answer = Client().post("/webhooks/karla", body, "application/json", headers=headers)
    print(answer.status_code, flush=True)
""",
    "manage.py": """
import os, sys
from django.core.management import execute_from_command_line
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
execute_from_command_line(sys.argv)
""",
}


@pytest.fixture(name="project")
def _project(postgresql: PostgreSQL, tmp_path: Path) -> Path:
    postgresql.execute("DROP TABLE IF EXISTS orders; CREATE TABLE orders (number text)")
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    with (tmp_path / "settings.py").open("a") as settings:
        settings.write(f"KARLA_WEBHOOK_SECRET = {SECRET!r}\n")
        settings.write(f"DATABASES = {{'default': {{**{postgresql.settings!r}, **LASTING}}}}\n")
    return tmp_path


@contextmanager
def running(project: Path, *command: str, **variables: str) -> Generator[subprocess.Popen[str]]:
    """Run a Python process in the project, and stop it as an operator does."""
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=project,
        env={**os.environ, **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_SECONDS)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("is_apart", [False, True], ids=["in the web process", "karla_work"])
def test_a_worker_goes_on_when_the_database_was_restarted(
    is_apart: bool, project: Path, postgresql: PostgreSQL
) -> None:
    with ExitStack() as processes:
        web = processes.enter_context(running(project, "web.py", WORKERS=str(int(not is_apart))))
        assert web.stdin is not None
        assert web.stdout is not None
        if is_apart:
            command = ("manage.py", "karla_work", "hooks:receiver", "--threads", "1")
            processes.enter_context(running(project, *command))
        for numbers in ("ab", "cde"):
            for number in numbers:
                print(number, file=web.stdin, flush=True)
                assert web.stdout.readline() == "200\n"
            until(partial(is_in, postgresql, numbers[-1]), "the last order is in the database")
            postgresql.stop()
            postgresql.start()
        until(lambda: set(states(project / "karla.db").values()) == {"done"})
    orders = postgresql.fetch("SELECT number FROM orders ORDER BY number")
    assert orders == [(number,) for number in "abcde"]


def is_in(postgresql: PostgreSQL, number: str) -> bool:
    return (number,) in postgresql.fetch("SELECT number FROM orders")
