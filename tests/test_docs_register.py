"""Runs docs/register-an-endpoint.md against a fake Karla, its commands too."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from karla_receiver import Receiver
from karla_receiver.adapters.wsgi import KarlaApp
from karla_receiver.testing.fake_karla import FakeKarla
from tests.wsgi_server import serving

DOCS = Path(__file__).parent.parent / "docs"
URL = "https://shop.example/webhooks/karla"


def blocks(page: str, language: str) -> list[str]:
    fences = [
        token for token in MarkdownIt().parse((DOCS / page).read_text()) if token.type == "fence"
    ]
    assert {token.info for token in fences} <= {"python", "sh", "text"}, "a block nothing runs"
    return [token.content for token in fences if token.info == language]


def run(program: str, names: dict[str, Any]) -> None:
    exec(program, names)  # noqa: S102 - it is our own page


PAGE = "register-an-endpoint.md"


@pytest.fixture
def karla(monkeypatch: pytest.MonkeyPatch) -> Generator[FakeKarla]:
    with FakeKarla(shop_slug="your-shop", username="your-shop", api_key="your-api-key") as fake:
        for name, value in fake.environ.items():
            monkeypatch.setenv(name, value)
        yield fake


def run_commands(script: str, folder: Path, *names: str) -> str:
    """Run commands in a shell that has nothing but these variables; return what they print."""
    scripts = str(Path(sys.executable).parent)
    environ = {name: os.environ[name] for name in names}
    ended = subprocess.run(
        ["bash", "-c", f"set -eu\n{script}"],  # noqa: S607 - as users do
        cwd=folder,
        env={**environ, "PATH": f"{scripts}:{os.environ['PATH']}", "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


@pytest.mark.slow
def test_the_commands_register_an_endpoint(karla: FakeKarla, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(blocks(PAGE, "python")[0])
    # What --dry-run ends with while there is a difference would end the script.
    script = "".join(blocks(PAGE, "sh")).replace("--dry-run\n", "--dry-run || echo status $?\n")
    printed = run_commands(script, tmp_path, "KARLA_API_URL")
    (registered,) = karla.webhooks

    assert "  + shipments/delivered\n  + claims\nstatus 1\n" in printed
    assert "Deleted " in printed
    assert registered.url == URL
    assert registered.enabled_events == ("shipments/delivered", "claims")
    assert (tmp_path / "karla.secret").read_text() == registered.secret


@pytest.mark.slow
def test_the_commands_of_a_rotation_leave_the_new_secret_and_no_gap(
    karla: FakeKarla, tmp_path: Path
) -> None:
    old = karla.register(URL, enabled_events=["shipments/delivered", "claims"])
    statuses: list[list[str]] = []
    for command in blocks("operations/rotation.md", "sh"):
        run_commands(
            f"yes | {command.rstrip()} 2> /dev/null",
            tmp_path,
            *("KARLA_API_URL", "KARLA_SHOP_SLUG", "KARLA_API_KEY"),
        )
        statuses.append([str(each.status) for each in karla.webhooks])

    assert statuses == [["active", "inactive"], ["active", "active"], ["active"]]
    (left,) = karla.webhooks
    assert left.uuid != old.uuid
    assert (tmp_path / "karla-new.secret").read_text() == left.secret
    assert (left.url, left.enabled_events) == (URL, ("shipments/delivered", "claims"))


def test_the_python_blocks_work(
    karla: FakeKarla, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KARLA_WEBHOOK_SECRET", "a-secret-before-the-first")
    shop, in_python, without_karla = blocks(PAGE, "python")
    names: dict[str, Any] = {"__name__": "docs"}

    karla.register("https://shop.example/old", status="inactive")
    run(shop, names)
    run(in_python, names)
    assert capsys.readouterr().out == (
        "https://shop.example/old inactive *\n"
        "to add: ('shipments/delivered', 'claims') to remove: ()\n"
        "32 characters to keep\n"
        "NotRegisteredError None\n"
    )

    receiver = names["receiver"]
    assert isinstance(receiver, Receiver)
    with serving(KarlaApp(receiver)) as url:
        assert '"http://127.0.0.1:8000/webhooks/karla"' in without_karla
        run(without_karla.replace("http://127.0.0.1:8000/webhooks/karla", f"{url}/"), names)
    *claims, told = capsys.readouterr().out.splitlines()
    assert len(claims) == 2
    assert told == "2 True"


def test_every_error_of_the_table_is_one() -> None:
    from karla_receiver import registration

    listed = re.findall(r"^\| `(\w+Error)` \|", (DOCS / PAGE).read_text(), re.MULTILINE)
    errors = {name for name in registration.__all__ if name.endswith("Error")}
    assert set(listed) == errors - {"RegistrationError"}
