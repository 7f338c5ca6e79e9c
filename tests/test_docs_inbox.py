"""Runs what docs/inbox.md shows."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from karla_receiver import Receiver
from tests.inbox.stock import query, query_and_commit, states
from tests.signing import BODY, DOCS_SECRET, signed
from tests.waiting import until

PAGE = Path(__file__).parent.parent / "docs" / "inbox.md"
BLOCKS = [token.content for token in MarkdownIt().parse(PAGE.read_text()) if token.type == "fence"]
ORDER = json.loads(BODY)["context"]["order"]["order_number"]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def made_by(number: int) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "page"}
    exec(BLOCKS[number], names)  # noqa: S102 - it is our own page
    return names


def run(number: int) -> Receiver:
    receiver = made_by(number)["receiver"]
    assert isinstance(receiver, Receiver)
    return receiver


def receive(receiver: Receiver, body: bytes = BODY) -> int:
    return receiver.receive(signed(body, DOCS_SECRET)).status


def close(receiver: Receiver) -> None:
    receiver.inbox.close()  # type: ignore[union-attr]


def test_all_blocks_are_run_here() -> None:
    assert len(BLOCKS) == 4


def test_the_first_inbox(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    receiver = run(0)
    assert receive(receiver) == receive(receiver) == 200
    until(lambda: list(states(tmp_path / "karla.db").values()) == ["done"])
    close(receiver)
    assert capsys.readouterr().out == f"{ORDER}\n"


def test_the_effect_in_the_transaction(tmp_path: Path) -> None:
    receiver = run(1)
    assert receive(receiver) == 200
    until(lambda: list(states(tmp_path / "shop.db").values()) == ["done"])
    close(receiver)
    assert query(tmp_path / "shop.db", "SELECT * FROM points") == [(ORDER, 10)]


def test_the_effect_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = made_by(2)
    receiver, mailer = names["receiver"], names["mailer"]
    is_up, keys, send = [False, True], [], mailer.send

    async def is_up_the_second_time() -> bool:
        await asyncio.sleep(0)
        return is_up.pop(0)

    async def send_and_remember(email: str, *, idempotency_key: str) -> None:
        keys.append(idempotency_key)
        await send(email, idempotency_key=idempotency_key)

    mailer.is_up, mailer.send = is_up_the_second_time, send_and_remember
    path = tmp_path / "karla.db"
    assert receive(receiver) == 200
    until(lambda: query(path, "SELECT note FROM karla_inbox") == [("the mailer is down",)])
    query_and_commit(path, "UPDATE karla_inbox SET due = 0")
    until(lambda: list(states(path).values()) == ["done"])
    assert [(key,) for key in keys] == query(path, "SELECT key FROM karla_inbox")
    email = json.loads(BODY)["context"]["customer"]["email"]
    assert capsys.readouterr().out == f"a voucher to {email}\n"
    nobody = {name: value for name, value in json.loads(BODY).items() if name != "context"}
    assert receive(receiver, json.dumps(nobody).encode()) == 200
    until(lambda: set(states(path).values()) == {"done"})
    close(receiver)


def test_the_store(tmp_path: Path) -> None:
    receiver = run(3)
    handled: list[object] = []
    receiver.on("*")(handled.append)
    assert receive(receiver) == receive(receiver) == 200
    assert len(handled) == 1
