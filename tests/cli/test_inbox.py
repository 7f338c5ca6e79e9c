from __future__ import annotations

import base64
import json
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from karla_receiver import ConfigurationError, Receiver, Request, Response
from karla_receiver.cli.program import program
from karla_receiver.cli.terminal import Terminal
from karla_receiver.errors import StorageError
from karla_receiver.idempotency.sqlite import SQLiteStore
from karla_receiver.inbox import SQLiteInbox
from karla_receiver.inbox.operations import Operations, Selection
from tests.inbox.stock import delivery, query, query_and_commit, states
from tests.signing import SECRET, signed
from tests.waiting import until

RUNNER = CliRunner(env={"COLUMNS": "160", "KARLA_WEBHOOK_SECRET": SECRET})
NOT_YET = "Nothing was done: add --yes to do it.\n"
NONE_BEGINS_WITH = (
    "karla-receiver: no delivery has a key that begins with '{}':"
    " `karla-receiver inbox list` shows the keys\n"
)
COMMANDS = [["list"], ["stats"], ["show", "x"], ["retry"], ["replay", "--yes"], ["purge", "--yes"]]


def run(*arguments: object, code: int = 0) -> str:
    result = RUNNER.invoke(program, ["inbox", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


def run_json(*arguments: object) -> list[Any]:
    return [json.loads(line) for line in run(*arguments, "--json").splitlines()]


def update(path: Path, sql: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(sql)
    connection.close()


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    """A file with a delivery in each state, an hour apart."""
    path = tmp_path / "karla.db"
    inbox = SQLiteInbox(path)
    now = time.time()
    for hours, state in enumerate(("waiting", "running", "done", "failed")):
        group = "claim_created" if state == "failed" else "parcel"
        received = {"received_at": now - 3600 * hours, "event_group": group, "occurrence": "same"}
        inbox.put(delivery(f"{state}-key", **received))
    inbox.put(delivery("bad\x1b[31m", problem="in[valid]_json \x1b", body=b"\xff\x1b", ref=None))
    inbox.close()
    update(
        path,
        "UPDATE karla_inbox SET state = substr(key, 1, instr(key, '-') - 1), attempts = 3"
        " WHERE instr(key, '-')",
    )
    return path


def keys(found: list[Any]) -> list[str]:
    return [each["key"].partition("-")[0] for each in found]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ["bad\x1b[31m", "failed", "done", "running", "waiting"]),
        (["--state", "failed"], ["failed"]),
        (["--state", "failed", "--state", "done"], ["failed", "done"]),
        (["--group", "claim_created"], ["failed"]),
        (["--since", "90m"], ["running", "waiting"]),
        (["--until", "150m", "--since", "7d"], ["failed"]),
        (["--until", "2020-01-01"], ["bad\x1b[31m"]),
        (["--since", "2020-01-01T00:00:00+01:00", "--until", "150m"], ["failed"]),
        (["--endpoint", "other"], []),
        (["--limit", "2"], ["bad\x1b[31m", "failed"]),
    ],
)
def test_a_list_holds_what_is_asked_for(
    path: Path, arguments: list[str], expected: list[str]
) -> None:
    assert keys(run_json("list", path, *arguments)) == expected


def test_a_table_for_people_shows_nothing_that_a_terminal_would_obey(path: Path) -> None:
    output = run("list", path)
    assert "\x1b" not in output
    assert "bad\\x1b[31m" in output
    assert "in[valid]_json" in output
    assert output.endswith("5 of 5 deliveries\n")


def test_in_a_pipe_each_row_is_a_whole_line(path: Path) -> None:
    ref = "shipments/delivery_attempted/" + "X" * 200
    inbox = SQLiteInbox(path)
    inbox.put(delivery("long", ref=f"{ref}\nand more", received_at=time.time() + 1))
    inbox.close()
    found = RUNNER.invoke(program, ["inbox", "list", str(path)], env={"COLUMNS": "80"}).output
    rows = found.splitlines()
    assert len(rows) == 1 + 6 + 1
    assert f"{ref}\\nand more" in rows[1]


def test_on_a_terminal_a_table_is_as_wide_as_that(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Terminal, "is_terminal", True)
    monkeypatch.setenv("NO_COLOR", "1")
    found = RUNNER.invoke(program, ["inbox", "list", str(path)], env={"COLUMNS": "60"}).output
    assert max(map(len, found.splitlines()[1:])) <= 60  # below the heading, which is bold


@pytest.mark.parametrize("time_", ["yesterday", "5 h", "2020-13-01"])
def test_a_time_that_is_none_is_refused(path: Path, time_: str) -> None:
    assert "is no time: give unix seconds (1700000000), ISO 8601" in run(
        "list", path, "--since", time_, code=2
    )


def test_a_delivery_is_shown_with_its_content(path: Path) -> None:
    output = run("show", path, "failed")
    assert '"n":"failed-key"' in output
    assert "karla-signature t=1,v1=00" in output
    assert "note         -\n" in output
    output = run("show", path, "bad")
    assert "\x1b" not in output
    assert output.endswith("\\xff\\x1b\n")
    (shown,) = run_json("show", path, "failed")
    assert shown["headers"] == [["karla-signature", "t=1,v1=00"]]
    assert json.loads(shown["body"])["n"] == "failed-key"
    (shown,) = run_json("show", path, "bad")
    assert base64.b64decode(shown["body_base64"]) == b"\xff\x1b"


@pytest.mark.parametrize(
    ("key", "wait", "shown"),
    [
        ("waiting", None, "due          now\n"),
        (
            "waiting",
            3600.7,
            r"due          20\d\d-\d\d-\d\d \d\d:\d\d:\d\dZ, in 3[56]\d\d s\n",
        ),
        ("done", 3600.7, "due          -\n"),
    ],
)
def test_when_it_is_due_is_shown_as_a_time(
    path: Path, key: str, wait: float | None, shown: str
) -> None:
    due = 0.0 if wait is None else time.time() + wait
    query_and_commit(path, "UPDATE karla_inbox SET due = ?", due)
    assert re.search(shown, run("show", path, key))


def test_what_is_deleted_while_it_is_looked_for_is_not_there(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Operations, "delivery", lambda *_: None)
    assert run("show", path, "done", code=2) == NONE_BEGINS_WITH.format("done")


def test_a_key_that_is_none_or_several_is_refused(path: Path) -> None:
    assert run("show", path, "nothing", code=2) == NONE_BEGINS_WITH.format("nothing")
    inbox = SQLiteInbox(path)
    inbox.put(delivery("failed-twice"))
    inbox.close()
    several = "karla-receiver: several keys begin with 'failed': write more of it\n"
    assert run("show", path, "failed", code=2) == several


def test_retry_has_the_failed_ones_handled_again(path: Path) -> None:
    assert run("retry", path) == "1 delivery will be handled again.\n"
    assert states(path)["failed-key"] == "waiting"
    assert query(path, "SELECT attempts FROM karla_inbox WHERE key = 'failed-key'") == [(0,)]
    assert states(path)["done-key"] == "done"
    assert run_json("retry", path) == [{"retried": 0}]


def test_replay_says_what_it_would_do_and_does_it_if_told(path: Path) -> None:
    before = states(path)
    would = f"1 delivery would be handled again, those already done included. {NOT_YET}"
    assert run("replay", path, "done") == would
    assert run_json("replay", path, "done") == [{"would_replay": 1}]
    assert states(path) == before

    assert run("replay", path, "done", "--yes") == "1 delivery will be handled.\n"
    assert states(path) == {**before, "done-key": "waiting"}
    assert run_json("replay", path, "--yes") == [{"replayed": 4}]  # never what runs
    assert states(path)["running-key"] == "running"


def test_purge_says_what_it_would_do_and_does_it_if_told(path: Path) -> None:
    before = states(path)
    assert run("purge", path) == f"1 delivery in state done would be deleted. {NOT_YET}"
    assert run_json("purge", path, "--state", "failed") == [{"would_delete": 1}]
    assert states(path) == before

    assert run("purge", path, "--yes") == "Deleted 1 delivery in state done.\n"
    assert set(before) - set(states(path)) == {"done-key"}
    every = [argument for state in ("waiting", "running") for argument in ("--state", state)]
    assert run_json("purge", path, *every, "--yes") == [{"deleted": 1}]
    assert states(path)["running-key"] == "running"
    assert query(path, "SELECT count(*) FROM karla_content") == [(3,)]


@pytest.mark.parametrize(
    ("command", "would", "does"),
    [("replay", "would_replay", "replayed"), ("purge", "would_delete", "deleted")],
)
def test_what_runs_is_neither_told_nor_touched(
    path: Path, command: str, would: str, does: str
) -> None:
    every = [argument for state in ("done", "running") for argument in ("--state", state)]
    assert run_json(command, path, *every) == [{would: 1}]
    assert run_json(command, path, *every, "--yes") == [{does: 1}]
    assert states(path)["running-key"] == "running"


def test_many_are_purged_batch_by_batch(path: Path) -> None:
    update(
        path,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200)"
        " INSERT INTO karla_inbox (identity, endpoint, state, due, attempts, takes, changed_at,"
        " received_at, key, occurrence) SELECT i, 'default', 'done', 0, 0, 0, 0, 0, i, '' FROM n",
    )
    assert run_json("purge", path, "--yes") == [{"deleted": 1201}]


def test_stats(path: Path) -> None:
    (found,) = run_json("stats", path)
    assert found["states"] == dict.fromkeys(
        ["waiting", "running", "done", "failed", "quarantined"], 1
    )
    assert found["groups"] == {"parcel": 4, "claim_created": 1}
    assert found["near_duplicates"] == 3
    assert found["workers"] == 0
    oldest = "SELECT min(received_at) FROM karla_inbox WHERE state = 'waiting'"
    assert [(found["oldest_waiting"],)] == query(path, oldest)
    assert found["bytes"] == path.stat().st_size
    output = run("stats", path)
    assert "same occurrence, other bytes  3" in output
    assert "workers alive: 0" in output
    update(path, "DELETE FROM karla_inbox")
    assert "oldest waiting: -" in run("stats", path)


@pytest.mark.parametrize("command", ["list", "stats", "retry", "purge"])
def test_a_file_that_is_none_is_refused_and_not_made(tmp_path: Path, command: str) -> None:
    path = tmp_path / "typo.db"
    assert run(command, path, code=2) == f"karla-receiver: {path}: there is no such file\n"
    assert not path.exists()


def application_file(tmp_path: Path, journal: str) -> Path:
    path = tmp_path / "shop.sqlite3"
    update(path, "CREATE TABLE orders (id INTEGER)")
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA journal_mode = {journal}")
    connection.close()
    return path


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_another_applications_database_is_refused_and_not_touched(
    tmp_path: Path, command: list[str], journal: str
) -> None:
    path = application_file(tmp_path, journal)
    before = path.read_bytes()
    output = run(command[0], path, *command[1:], code=2)
    assert output == (
        f"karla-receiver: {path} is a SQLite database without an inbox:"
        " give the path that the app gives to SQLiteInbox\n"
    )
    assert path.read_bytes() == before


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_file_of_a_store_alone_is_refused(tmp_path: Path, command: list[str]) -> None:
    path = tmp_path / "store.db"
    receiver = Receiver(SECRET, idempotency=SQLiteStore(path))
    body = b'{"event_group":"shipment_delivered"}'
    request = signed(body)
    assert receiver.receive(request).status == 200
    assert "is the file of a SQLiteStore" in run(command[0], path, *command[1:], code=2)


def test_an_inbox_that_has_forgotten_everything_is_one_still(path: Path, tmp_path: Path) -> None:
    update(path, "INSERT INTO karla_claims VALUES (x'00', x'00', NULL, NULL, NULL, 0)")
    update(path, "INSERT INTO karla_workers (endpoint, beat, lease, pid) VALUES ('a', 0, 0, 1)")
    update(path, "DELETE FROM karla_workers")
    update(path, "DELETE FROM karla_inbox")
    assert run("list", path).endswith("0 of 0 deliveries\n")
    SQLiteInbox(tmp_path / "new.db").close()
    assert run("list", tmp_path / "new.db").endswith("0 of 0 deliveries\n")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"no database, but a text of some length" * 9, "it is not a SQLite database"),
        (None, "no file"),
    ],
)
def test_what_is_no_database_is_refused(tmp_path: Path, content: bytes | None, told: str) -> None:
    path = tmp_path
    if content is not None:
        path = tmp_path / "notes.txt"
        path.write_bytes(content)
    assert told in run("stats", path, code=2)


def test_a_newer_versions_file_is_refused(path: Path) -> None:
    update(path, "UPDATE karla_schema SET version = 99")
    assert "it has schema version 99" in run("stats", path, code=2)


def test_where_an_error_came_from_is_shown_if_asked_for(path: Path) -> None:
    update(path, "UPDATE karla_schema SET version = 99")
    result = RUNNER.invoke(program, ["--debug", "inbox", "stats", str(path)])
    assert isinstance(result.exception, ConfigurationError)


def test_a_file_that_cannot_be_used_any_more_is_told_in_a_line(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(Operations, "have_again", fail)
    assert run("retry", path, code=2) == "karla-receiver: the disk is full\n"


def test_a_look_changes_nothing_of_an_inbox(path: Path) -> None:
    before = path.read_bytes()
    for command in (["list"], ["stats"], ["show", "failed"]):
        run(command[0], path, *command[1:])
    assert path.read_bytes() == before


def test_a_file_that_turns_bad_meanwhile_is_told(path: Path) -> None:
    operations = Operations(path)
    path.write_bytes(b"no database, but a text of some length" * 200)
    with pytest.raises(StorageError, match="it is not a SQLite database"):
        operations.stats()
    operations.close()


@contextmanager
def listening(receiver: Receiver, then: Callable[[], object] = int) -> Generator[str]:
    """Serve a receiver at a URL. then: called before each answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            response = receiver.receive(Request("POST", list(self.headers.items()), body))
            then()
            self.send_response(response.status)
            self.end_headers()

        def log_message(self, format: str, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/hook"
        server.shutdown()
        thread.join()


def test_replay_to_a_url_signs_anew(path: Path, tmp_path: Path) -> None:
    inbox = SQLiteInbox(tmp_path / "other.db")
    with listening(Receiver(SECRET, inbox=inbox)) as url:
        assert "would be sent to" in run("replay", path, "--to", url)
        output = run("replay", path, "--to", url, "--yes", code=1)
    assert "bad\\x1b[31m: 400\n4 deliveries accepted, 1 not.\n" in output
    assert len(states(tmp_path / "other.db")) == 5
    inbox.close()
    kept = "SELECT body FROM karla_content ORDER BY id"
    assert query(tmp_path / "other.db", kept) == query(path, kept)

    output = run("replay", path, "done", "--to", url, "--yes", code=1)
    assert "done-key: nothing listens at " in output
    assert output.endswith("0 deliveries accepted, 1 not.\n")


def test_only_200_is_taken_for_accepted(path: Path) -> None:
    class Accepting:
        def receive(self, request: Request) -> Response:
            return Response(202, (), b"")

    accepting: Any = Accepting()
    with listening(accepting) as url:
        output = run("replay", path, "done", "--to", url, "--yes", code=1)
    assert output == "done-key: 202\n0 deliveries accepted, 1 not.\n"


def test_what_is_deleted_while_others_are_sent_is_counted_and_not_sent(path: Path) -> None:
    class Purging:
        def receive(self, request: Request) -> Response:
            update(path, "DELETE FROM karla_content WHERE id > 2")
            return Response(200, (), b"")

    purging: Any = Purging()
    with listening(purging) as url:
        (found,) = run_json("replay", path, "--to", url, "--yes")
        assert found == {"replayed": 2, "refused": 0, "gone": 3}
        output = run("replay", path, "--to", url, "--yes")
    assert output == "2 deliveries accepted, 0 not. 3 deliveries deleted meanwhile.\n"


@pytest.mark.parametrize("yes", [[], ["--yes"]])
@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://shop.example/karla", "--allow-remote"),
        ("http://[bad", "is no URL to deliver to"),
        ("not a url", "is no URL to deliver to"),
    ],
)
def test_bodies_leave_this_machine_only_if_that_is_meant(
    path: Path, url: str, told: str, yes: list[str]
) -> None:
    assert told in run("replay", path, "--to", url, *yes, code=2)


def test_to_a_remote_url_if_that_is_meant(path: Path) -> None:
    output = run("replay", path, "--to", "http://shop.example/karla", "--allow-remote")
    assert output == f"5 deliveries would be sent to http://shop.example/karla. {NOT_YET}"


@pytest.mark.parametrize(
    ("environment", "arguments"),
    [
        ({"KARLA_WEBHOOK_SECRETS": f"{SECRET},an-old-one"}, []),
        ({"KARLA_WEBHOOK_SECRET": "another"}, ["--secret-file", "secret"]),
    ],
)
def test_replay_takes_the_secret_from_where_every_command_does(
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    arguments: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("secret").write_text(f"{SECRET}\n")
    with listening(Receiver(SECRET)) as url:
        command = ["inbox", "replay", str(path), "done", "--to", url, "--yes", *arguments]
        output = CliRunner(env=environment).invoke(program, command).output
    assert output == "1 delivery accepted, 0 not.\n"


@pytest.mark.parametrize(
    ("secret", "told"), [(None, "no secret: set KARLA_WEBHOOK_SECRET"), (" ", "secret")]
)
def test_replay_to_a_url_needs_a_secret_that_can_sign(
    path: Path, secret: str | None, told: str
) -> None:
    result = RUNNER.invoke(
        program,
        ["inbox", "replay", str(path), "--to", "http://127.0.0.1:9", "--yes"],
        env={"KARLA_WEBHOOK_SECRET": secret},
    )
    assert result.exit_code == 2
    assert told in result.output


def test_a_delivery_that_was_deleted_meanwhile_is_no_delivery(path: Path) -> None:
    operations = Operations(path)
    (kept,) = operations.find(Selection(keys=("done",)))
    assert list(operations.delete(Selection(keys=("done",)))) == [1]
    assert list(operations.delete(Selection(keys=("done",)))) == []
    assert operations.delivery(kept) is None
    operations.close()
    until(lambda: "done-key" not in states(path))


@pytest.mark.parametrize(
    "command", [["retry"], ["replay"], ["replay", "--yes"], ["purge", "--yes"]]
)
def test_a_key_that_is_not_there_is_told(path: Path, command: list[str]) -> None:
    before = states(path)
    name, *options = command
    told = run(name, path, "failed", "unknown", *options, code=2)
    assert told == NONE_BEGINS_WITH.format("unknown")
    assert states(path) == before


@pytest.mark.parametrize(
    ("group", "told"),
    [
        ("parcell", "no delivery here is of the event group 'parcell': did you mean 'parcel'?\n"),
        ("claim_creatd", "did you mean 'claim_created'?"),
        ("zzzz", "no delivery here is of the event group 'zzzz'\n"),
        ("claim_updated", ""),
        ("parcel", ""),
    ],
)
def test_a_misspelt_group_is_told(path: Path, group: str, told: str) -> None:
    for command in (["list"], ["retry"], ["purge"]):
        result = RUNNER.invoke(program, ["inbox", *command, str(path), "--group", group])
        assert result.exit_code == 0
        assert told in result.stderr
        assert bool(told) == bool(result.stderr)
