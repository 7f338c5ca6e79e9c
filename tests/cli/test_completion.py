"""What a shell offers for a word that is being typed."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner

from karla_receiver import EventGroup, samples
from karla_receiver.cli.completion import patterns
from karla_receiver.cli.program import program
from karla_receiver.inbox import SQLiteInbox
from karla_receiver.patterns import parse_pattern
from karla_receiver.testing.deliveries import BadKind
from tests.inbox.stock import delivery


def offered(*words: object) -> list[str]:
    """Return what bash offers for the last word."""
    environment = {
        "_KARLA_RECEIVER_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(map(str, ["karla-receiver", *words])),
        "COMP_CWORD": str(len(words)),
    }
    result = CliRunner().invoke(program, [], env=environment, prog_name="karla-receiver")
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout.split()


def beginning(words: list[str], with_: str) -> list[str]:
    return [word for word in words if word.startswith(with_)]


@pytest.mark.parametrize("command", ["samples", "send", "sign", "verify"])
def test_names_of_samples(command: str) -> None:
    assert offered(command, "shipment_d") == beginning(samples.names(), "shipment_d") != []


def test_nothing_is_offered_for_a_file_so_that_the_shell_offers_files() -> None:
    assert offered("send", "./") == offered("diff", "") == offered("drift", "") == []


def test_kinds_of_bad_deliveries() -> None:
    assert offered("send", "--bad", "") == list(BadKind)


def test_event_groups() -> None:
    expected = beginning(list(EventGroup), "claim")
    assert offered("inbox", "list", "karla.db", "--group", "claim") == expected != []


def test_patterns() -> None:
    begun = offered("webhooks", "create", "https://x.example", "--event", "shipments/deliv")
    assert {"shipments/delivered", "shipments/delivered/SUCCESSFULLY_DELIVERED"} <= {*begun}
    assert {"shipments", "claims", "claims/created"} <= {*patterns()}


@pytest.mark.parametrize("pattern", patterns())
def test_every_pattern_is_one(pattern: str) -> None:
    assert parse_pattern(pattern).text == pattern


@pytest.fixture(name="inbox_file")
def _inbox_file(tmp_path: Path) -> Path:
    path = tmp_path / "karla.db"
    inbox = SQLiteInbox(path)
    for key in ("3fb1a0" + "0" * 58, "3fc2" + "1" * 60, "odd key", "$(odd)", "short"):
        inbox.put(delivery(key))
    inbox.close()
    return path


@pytest.mark.parametrize("command", ["show", "retry", "replay", "purge"])
def test_keys_of_an_inbox(command: str, inbox_file: Path) -> None:
    assert offered("inbox", command, inbox_file, "") == ["short", "3fc211111111", "3fb1a0000000"]
    assert offered("inbox", command, inbox_file, "3fb") == ["3fb1a0000000"]
    assert offered("inbox", command, inbox_file, "3fc2111111111") == ["3fc2" + "1" * 60]
    assert offered("inbox", command, inbox_file, "x'") == []


def test_the_file_is_neither_changed_nor_locked(inbox_file: Path) -> None:
    before = inbox_file.read_bytes()
    connection = sqlite3.connect(inbox_file, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    beside = sorted(inbox_file.parent.iterdir())
    try:
        assert offered("inbox", "show", inbox_file, "sh") == ["short"]
        assert sorted(inbox_file.parent.iterdir()) == beside
    finally:
        connection.execute("ROLLBACK")
        connection.close()
    assert inbox_file.read_bytes() == before


def test_no_file_is_made(tmp_path: Path) -> None:
    assert offered("inbox", "show", tmp_path / "nothing.db", "") == []
    assert offered("inbox", "show", tmp_path, "") == []
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_inbox_has_no_keys(tmp_path: Path) -> None:
    (tmp_path / "diary").write_text("my diary")
    sqlite3.connect(tmp_path / "another.db").close()
    assert offered("inbox", "show", tmp_path / "diary", "") == []
    assert offered("inbox", "show", tmp_path / "another.db", "") == []


def test_before_a_file_is_named_there_are_no_keys() -> None:
    assert offered("inbox", "show", "") == []
