from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import time_machine
import typer
from typer.testing import CliRunner, Result

from karla_receiver import KarlaReceiverError
from karla_receiver.cli.program import program
from karla_receiver.cli.registrations import Rows
from karla_receiver.cli.webhooks import webhooks
from karla_receiver.registration import Webhook
from karla_receiver.testing.fake_karla import Duplicates, FakeKarla
from tests.cli.running import run_into_closed_pipe

URL = "https://shop.example/webhooks/karla"
DAY = 86_400
MOMENT = datetime(2026, 4, 1, tzinfo=UTC).timestamp()
MAIN = "from karla_receiver.cli import main; main()"

SHOP = """
from karla_receiver import Receiver

receiver = Receiver.from_env()
idle = Receiver("a-secret-of-the-shop")
text = "no receiver"


class Shop:
    receiver = receiver


@receiver.on("shipments/delivered", "claims")
def handle(event):
    pass
"""


@pytest.fixture
def registered_at() -> list[float]:
    """Return when the fake registers what it registers, to be set."""
    return [MOMENT]


@pytest.fixture
def karla(monkeypatch: pytest.MonkeyPatch, registered_at: list[float]) -> Generator[FakeKarla]:
    with FakeKarla(clock=lambda: registered_at[0]) as fake:
        for name, value in fake.environ.items():
            monkeypatch.setenv(name, value)
        yield fake


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Write a shop's module into a folder, and be there."""
    (tmp_path / "shop_of_the_test.py").write_text(SHOP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv("KARLA_WEBHOOK_SECRET", "set, to be restored")
    monkeypatch.delenv("KARLA_WEBHOOK_SECRET")
    yield "shop_of_the_test:receiver"
    sys.modules.pop("shop_of_the_test", None)
    sys.modules.pop("broken_of_the_test", None)


def run(*arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(program, ["webhooks", *arguments], input=stdin)


def succeed(*arguments: str, stdin: str = "") -> str:
    result = run(*arguments, stdin=stdin)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def lines(*arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in succeed(*arguments, "--json").splitlines()]


def refuse(*arguments: str, stdin: str = "", exit_code: int = 2) -> str:
    result = run(*arguments, stdin=stdin)
    assert result.exit_code == exit_code
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result.stderr


# --- list ----------------------------------------------------------------------------------------


@time_machine.travel(MOMENT, tick=False)
def test_the_list_shows_every_webhook_and_no_secret(
    karla: FakeKarla, registered_at: list[float]
) -> None:
    registered_at[0] = MOMENT - 90 * DAY
    first = karla.register(URL, enabled_events=["claims", "shipments"], description="the shop")
    registered_at[0] = MOMENT - 7200
    second = karla.register(f"{URL}/2", status="inactive")

    assert succeed("list") == (
        f"{URL}  active\n"
        f"  uuid    {first.uuid}\n"
        "  created 2026-01-01 00:00:00Z, 90 days old\n"
        "  events  claims, shipments\n"
        "  note    the shop\n"
        f"{URL}/2  inactive\n"
        f"  uuid    {second.uuid}\n"
        "  created 2026-03-31 22:00:00Z, 2 hours old\n"
        "  events  *\n"
    )
    assert lines("list", "--status", "inactive") == [
        {
            "type": "webhook",
            "uuid": second.uuid,
            "url": f"{URL}/2",
            "enabled_events": ["*"],
            "status": "inactive",
            "description": None,
            "shop_slug": "nordwind",
            "created_at": second.created_at.replace("+00:00", "Z"),
            "updated_at": second.updated_at.replace("+00:00", "Z"),
        }
    ]


def test_a_webhook_of_unknown_age_is_shown_without_one(capsys: pytest.CaptureFixture[str]) -> None:
    Rows().webhooks([Webhook(uuid="1", url=URL, enabled_events=("*",))])
    assert capsys.readouterr().out == f"{URL}  active\n  uuid    1\n  events  *\n"


def test_an_empty_list_says_so_to_people(karla: FakeKarla) -> None:
    assert succeed("list") == "No webhook is registered.\n"
    assert lines("list") == []


def test_what_others_wrote_cannot_move_the_cursor(karla: FakeKarla) -> None:
    karla.register(URL, description="\x1b[2Jgone [bold]really[/bold]", enabled_events=["a\x07b"])
    shown = succeed("list")
    assert "  note    \\x1b[2Jgone [bold]really[/bold]\n" in shown
    assert "  events  a\\x07b\n" in shown


def test_a_long_url_is_shown_whole(karla: FakeKarla) -> None:
    url = f"{URL}?shop={'x' * 300}"
    karla.register(url)
    assert url in succeed("list")


# --- create --------------------------------------------------------------------------------------


def test_a_new_webhook_is_shown_with_its_secret_once(karla: FakeKarla) -> None:
    with time_machine.travel(MOMENT, tick=False):
        shown = succeed("create", URL)
    (registered,) = karla.webhooks

    assert shown == (
        f"{URL}  active\n"
        f"  uuid    {registered.uuid}\n"
        "  created 2026-04-01 00:00:00Z, new\n"
        "  events  *\n"
        "\nIts secret, shown this once. Keep it as KARLA_WEBHOOK_SECRET:\n"
        f"\n  {registered.secret}\n"
    )
    assert registered.secret not in succeed("list")


def test_events_note_and_status_are_registered(karla: FakeKarla) -> None:
    options = ["--event", "claims", "--event", "shipments", "--description", "x", "--inactive"]
    (created,) = lines("create", URL, *options)
    (registered,) = karla.webhooks

    assert created["enabled_events"] == ["claims", "shipments"]
    assert (created["status"], created["description"]) == ("inactive", "x")
    assert (created["secret"], created["secret_file"]) == (registered.secret, None)


@pytest.mark.skipif(sys.platform == "win32", reason="modes are of POSIX")
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o277])
def test_a_secret_file_is_its_owners_alone_and_the_secret_is_not_shown(
    umask: int, karla: FakeKarla, tmp_path: Path
) -> None:
    file = tmp_path / "karla.secret"
    before = os.umask(umask)
    try:
        shown = succeed("create", URL, "--save-secret", str(file))
    finally:
        os.umask(before)
    (registered,) = karla.webhooks

    assert stat.S_IMODE(file.stat().st_mode) in {0o600, 0o400}
    file.chmod(0o600)
    assert file.read_text() == registered.secret
    assert registered.secret not in shown
    assert f"Its secret is in {file}" in shown.replace("\n", " ")


def test_json_names_the_file_in_place_of_the_secret(karla: FakeKarla, tmp_path: Path) -> None:
    file = tmp_path / "karla.secret"
    (created,) = lines("create", URL, "--save-secret", str(file))
    assert (created["secret"], created["secret_file"]) == (None, str(file))


@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_what_is_there_is_never_overwritten_and_nothing_is_registered(
    kind: str, karla: FakeKarla, tmp_path: Path
) -> None:
    path = tmp_path / "karla.secret"
    if kind == "file":
        path.write_text("in use")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "elsewhere")

    assert f"{path} exists, and may hold a secret" in refuse(
        "create", URL, "--save-secret", str(path)
    )
    assert karla.calls == []
    assert not (tmp_path / "elsewhere").exists()
    assert kind != "file" or path.read_text() == "in use"


def test_a_file_that_cannot_be_made_is_told_before_anything_is_registered(
    karla: FakeKarla, tmp_path: Path
) -> None:
    path = tmp_path / "no folder" / "karla.secret"
    told = refuse("create", URL, "--save-secret", str(path))
    assert told == f"karla-receiver: cannot make {path}: No such file or directory\n"
    assert karla.calls == []


def test_no_file_is_left_where_nothing_was_registered(karla: FakeKarla, tmp_path: Path) -> None:
    path = tmp_path / "karla.secret"
    karla.fail_next(401)
    refuse("create", URL, "--save-secret", str(path), exit_code=1)
    assert not path.exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="limits of processes are of POSIX")
def test_a_secret_that_cannot_be_written_is_told_and_shown_nowhere(
    karla: FakeKarla, tmp_path: Path
) -> None:
    file = tmp_path / "karla.secret"
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); "
    arguments = ["webhooks", "create", URL, "--save-secret", str(file)]
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", full + MAIN, *arguments],
        # Without a measurement of coverage, which could not be written either.
        env={**os.environ, **karla.environ, "COVERAGE_PROCESS_START": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    (registered,) = karla.webhooks

    assert (ended.returncode, ended.stdout) == (1, "")
    assert f"cannot write to {file} (File too large)" in ended.stderr
    assert "delete the webhook, and create another one" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert registered.secret not in ended.stderr
    assert not file.exists()


def test_a_secret_that_did_not_reach_the_disk_is_lost(
    karla: FakeKarla, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    file = tmp_path / "karla.secret"
    told = refuse("create", URL, "--save-secret", str(file), exit_code=1)
    assert "(No space left on device), and so the new webhook's secret is lost" in told
    assert not file.exists()


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_secret_that_nobody_reads_is_lost_and_that_is_told(
    options: list[str], karla: FakeKarla
) -> None:
    ended = run_into_closed_pipe("webhooks", "create", URL, *options)
    assert ended.status == 1
    assert ended.errors == (
        "karla-receiver: cannot show the new webhook's secret (Broken pipe), and so it is lost:"
        " delete the webhook, and create another one\n"
    )
    assert len(karla.webhooks) == 1


@pytest.mark.slow
def test_a_secret_that_is_in_a_file_is_not_lost_where_nobody_reads(
    karla: FakeKarla, tmp_path: Path
) -> None:
    file = tmp_path / "karla.secret"
    ended = run_into_closed_pipe("webhooks", "create", URL, "--save-secret", file)
    assert ended == (0, "", "")
    assert file.read_text() == karla.webhooks[0].secret


@pytest.mark.slow
def test_where_no_secret_comes_none_is_lost() -> None:
    with FakeKarla(duplicates=Duplicates.RETURN_EXISTING) as karla:
        karla.register(URL)
        assert run_into_closed_pipe("webhooks", "create", URL, "--yes", **karla.environ) == (
            0,
            "",
            "",
        )


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_list_may_be_closed_early(options: list[str], karla: FakeKarla) -> None:
    karla.register(URL)
    assert run_into_closed_pipe("webhooks", "list", *options) == (0, "", "")


@pytest.fixture
def unexpected() -> Generator[object]:
    """A handler of SIGTERM that is to be replaced, or the tests would end."""

    def fail(*_: object) -> None:
        raise AssertionError("the signal was not waited for")

    before = signal.signal(signal.SIGTERM, fail)
    yield fail
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("is_kept", [False, True])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_may_lose_the_secret_says_so(
    number: signal.Signals,
    is_kept: bool,
    karla: FakeKarla,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    unexpected: object,
) -> None:
    def interrupt(*_: object) -> None:
        signal.raise_signal(number)

    file = tmp_path / "karla.secret"
    # Kept: it is in the file, and only what is shown afterwards is interrupted.
    place = "registrations.Rows.created" if is_kept else "secret_file.SecretFile.write"
    monkeypatch.setattr(f"karla_receiver.cli.{place}", interrupt)
    told = refuse("create", URL, "--save-secret", str(file), exit_code=130)

    assert file.exists() == is_kept
    assert signal.getsignal(signal.SIGTERM) is unexpected
    assert told == (
        ""
        if is_kept
        else "karla-receiver: interrupted: if the webhook was created, its secret is lost: see"
        " `karla-receiver webhooks list`, delete the webhook, and create another one\n"
    )


def test_an_interrupt_loses_no_secret_that_the_user_has(
    karla: FakeKarla, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setenv("MY_SECRET", "a-secret-of-mine-1")
    monkeypatch.setattr("karla_receiver.cli.registrations.Rows.changed", interrupt)
    assert refuse("create", URL, "--secret-env", "MY_SECRET", exit_code=130) == ""


def test_an_own_secret_comes_from_the_environment_and_is_not_shown(
    karla: FakeKarla, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_SECRET", "a-secret-of-mine-1")
    shown = succeed("create", URL, "--secret-env", "MY_SECRET")

    assert karla.webhooks[0].secret == "a-secret-of-mine-1"
    assert "secret" not in shown.lower()


@pytest.mark.parametrize("own", [True, False])
def test_a_webhook_that_was_there_before_has_no_secret_to_show(
    own: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MY_SECRET", "a-secret-of-mine-1")
    file = tmp_path / "karla.secret"
    options = ["--secret-env", "MY_SECRET"] if own else ["--save-secret", str(file)]
    with FakeKarla(duplicates=Duplicates.RETURN_EXISTING) as karla:
        for name, value in karla.environ.items():
            monkeypatch.setenv(name, value)
        karla.register(URL)
        shown = succeed("create", URL, *options, "--yes")
    assert "Karla gave no secret: the webhook may have been there before." in shown
    assert not file.exists()


def test_a_url_that_gets_events_is_registered_again_only_if_that_is_meant(
    karla: FakeKarla,
) -> None:
    first = karla.register(URL)
    told = refuse("create", URL, stdin="n\n", exit_code=1)
    assert f"{URL} is registered and active: {first.uuid} (" in told
    assert "Each event would come twice." in told
    assert "nobody is there to answer: say --yes" in refuse("create", URL)
    assert len(karla.webhooks) == 1
    assert run("create", URL, stdin="y\n").exit_code == 0
    succeed("create", URL, "--yes")
    succeed("create", URL, "--inactive")
    assert len(karla.webhooks) == 4


def test_a_url_that_gets_nothing_yet_is_registered_without_a_question(karla: FakeKarla) -> None:
    karla.register(URL, status="inactive")
    karla.register(f"{URL}/other")
    succeed("create", URL)
    assert len(karla.webhooks) == 3


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["http://shop.example"], "Karla delivers to https only"),
        (["https://u:hunter2@shop.example"], "leave user name and password out"),
        ([URL, "--event", "shipment/delivered"], "did you mean 'shipments/delivered'?"),
        ([URL, "--secret-env", "NOT_SET"], "NOT_SET is not set: export the secret"),
        ([URL, "--secret-env", "SHORT"], "the secret has 16 to 64 characters, not 5"),
        ([URL, "--secret-env", "SHORT", "--save-secret", "x"], "name --save-secret or"),
        ([], "Missing argument"),
        ([URL, "--nothing"], "No such option"),
    ],
)
def test_wrong_use_is_told_and_nothing_is_registered(
    arguments: list[str], told: str, karla: FakeKarla, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHORT", "short")
    said = refuse("create", *arguments)
    assert told in " ".join(said.split())
    assert "hunter2" not in said
    assert karla.calls == []


# --- update, delete ------------------------------------------------------------------------------


def test_an_update_changes_what_it_names(karla: FakeKarla) -> None:
    before = karla.register(URL, enabled_events=["claims"], description="old")
    shown = succeed("update", URL, "--status", "inactive")
    assert shown.startswith(f"{URL}  inactive\n")

    options = ["--event", "*", "--url", f"{URL}/2", "--description", "new"]
    (changed,) = lines("update", before.uuid, *options)
    assert changed["url"] == karla.webhooks[0].url == f"{URL}/2"
    assert changed["enabled_events"] == ["*"]
    assert (changed["description"], changed["status"]) == ("new", "inactive")
    assert "secret" not in changed


def test_events_of_no_known_source_are_registered_with_a_warning(karla: FakeKarla) -> None:
    for command in ("create", "update"):
        result = run(command, URL, "--event", "invoices/paid", "--event", "claims")
        assert result.exit_code == 0
        assert result.stderr == (
            "karla-receiver: warning: 'invoices/paid' matches nothing that is known: the events of"
            " Karla begin with shipments and claims\n"
        )
    assert karla.webhooks[0].enabled_events == ("invoices/paid", "claims")


def test_what_takes_long_says_what_is_waited_for(
    karla: FakeKarla, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("karla_receiver.cli.output._SLOW_SECONDS", 0.01)
    karla.fail_next(503)  # and a wait until the next attempt
    result = run("list")
    assert (result.exit_code, result.stderr) == (0, "waiting for Karla ...\n")


def test_an_update_of_nothing_is_wrong_use(karla: FakeKarla) -> None:
    assert "nothing to change" in refuse("update", URL)


@pytest.mark.parametrize("answer", ["y", "Y", "yes", " yes "])
def test_a_webhook_is_deleted_after_a_yes(answer: str, karla: FakeKarla) -> None:
    registered = karla.register(URL)
    result = run("delete", URL, stdin=f"{answer}\n")

    assert result.exit_code == 0
    assert result.stderr == f"Delete {URL} ({registered.uuid})? [y/N] "
    assert result.stdout == f"Deleted {registered.uuid}.\n"
    assert karla.webhooks == []


@pytest.mark.parametrize("answer", ["n", "", "no", "yess"])
def test_nothing_is_deleted_without_a_yes(answer: str, karla: FakeKarla) -> None:
    karla.register(URL)
    assert run("delete", URL, stdin=f"{answer}\n").exit_code == 1
    assert len(karla.webhooks) == 1


def test_where_nobody_can_answer_a_yes_must_be_said_before(karla: FakeKarla) -> None:
    registered = karla.register(URL)
    assert "nobody is there to answer: say --yes" in refuse("delete", URL)
    assert lines("delete", URL, "--yes") == [{"type": "deleted", "webhook": registered.uuid}]


def test_a_webhook_that_is_not_there_is_a_negative_result(karla: FakeKarla) -> None:
    told = refuse("delete", URL, "--yes", exit_code=1)
    assert told.startswith(f"karla-receiver: no webhook is registered as {URL}: GET http://")


def test_a_url_of_several_webhooks_names_their_uuids(karla: FakeKarla) -> None:
    uuids = [karla.register(URL).uuid for _ in range(2)]
    told = refuse("delete", URL, "--yes", exit_code=1)
    assert all(uuid in told for uuid in uuids)


# --- rotate --------------------------------------------------------------------------------------


def test_a_rotation_goes_step_by_step_and_deletes_the_old_webhook(
    karla: FakeKarla, registered_at: list[float], tmp_path: Path
) -> None:
    old = karla.register(URL, enabled_events=["claims"], description="mine")
    registered_at[0] += DAY
    file = tmp_path / "new.secret"

    made = run("rotate", URL, "--save-secret", str(file), stdin="y\n")
    assert made.exit_code == 0
    assert "deploy with both secrets, the new one first" in made.stderr
    new = karla.webhooks[1]
    assert file.read_text() == new.secret
    assert (new.status, new.enabled_events, new.description) == ("inactive", ("claims",), "mine")

    switched = run("rotate", URL, stdin="y\n")
    assert switched.exit_code == 0
    assert f"the new webhook {new.uuid} (" in switched.stderr
    assert "Each event comes twice now" in switched.stderr
    assert [each.status for each in karla.webhooks] == ["active", "active"]

    deleted = run("rotate", URL, "--json", stdin="y\n")
    assert json.loads(deleted.stdout) == {"type": "deleted", "webhook": old.uuid}
    assert f"The old webhook {old.uuid} (active, " in deleted.stderr
    assert "deploy with the new one alone" in deleted.stderr
    assert [each.uuid for each in karla.webhooks] == [new.uuid]


@pytest.mark.parametrize("is_oldest_first", [True, False])
def test_the_older_webhook_is_deleted_in_whatever_order_karla_lists_them(
    is_oldest_first: bool, karla: FakeKarla, registered_at: list[float]
) -> None:
    first = karla.register(URL)
    registered_at[0] += DAY if is_oldest_first else -DAY
    second = karla.register(URL)
    assert run("rotate", URL, "--yes").exit_code == 0
    assert [each.uuid for each in karla.webhooks] == [
        second.uuid if is_oldest_first else first.uuid
    ]


@pytest.mark.parametrize("others", [0, 1])
def test_no_step_is_done_without_a_yes(
    others: int, karla: FakeKarla, registered_at: list[float]
) -> None:
    karla.register(URL)
    for _ in range(others):
        registered_at[0] += DAY
        karla.register(URL)
    before = karla.webhooks
    refuse("rotate", URL, stdin="n\n", exit_code=1)
    refuse("rotate", URL)
    assert karla.webhooks == before


def test_a_rotation_that_is_not_certain_changes_nothing(
    karla: FakeKarla, registered_at: list[float]
) -> None:
    assert "no webhook is registered for" in refuse("rotate", URL, "--yes")
    karla.register(URL)
    karla.register(URL)
    assert "which of the two webhooks of this URL is older is not known" in refuse(
        "rotate", URL, "--yes"
    )
    registered_at[0] += DAY
    karla.register(URL)
    assert "3 webhooks have this URL: " in refuse("rotate", URL, "--yes")
    karla.register(f"{URL}/2", enabled_events=["claims"])
    registered_at[0] += DAY
    karla.register(f"{URL}/2")
    told = refuse("rotate", f"{URL}/2", "--yes")
    assert "the two webhooks of this URL have different events: " in told
    assert len(karla.webhooks) == 5


def test_a_webhook_that_karla_gives_back_is_no_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeKarla(duplicates=Duplicates.RETURN_EXISTING) as karla:
        for name, value in karla.environ.items():
            monkeypatch.setenv(name, value)
        karla.register(URL)
        ended = run("rotate", URL, "--yes")
    assert ended.exit_code == 1
    assert "Karla gave no secret" in ended.stdout
    assert "Next:" not in ended.stderr


# --- sync ----------------------------------------------------------------------------------------


def test_a_sync_registers_an_endpoint_and_then_has_nothing_to_do(
    karla: FakeKarla, shop: str
) -> None:
    result = run("sync", URL, shop, stdin="y\n")
    (registered,) = karla.webhooks

    assert result.exit_code == 0
    assert result.stderr == "Change this? [y/N] "
    assert result.stdout.startswith(
        f"{URL} (to be created)\n  + shipments/delivered\n  + claims\n{URL}  active\n"
    )
    assert result.stdout.endswith(f"\n  {registered.secret}\n")
    assert registered.enabled_events == ("shipments/delivered", "claims")

    assert succeed("sync", URL, shop) == (
        f"{URL} is as it should be ({registered.uuid}, active).\n"
    )


def test_a_sync_shows_the_difference_and_asks(karla: FakeKarla, shop: str) -> None:
    before = karla.register(URL, enabled_events=["claims", "shipments/in_transit"])
    difference = f"{URL} ({before.uuid})\n  + shipments/delivered\n  - shipments/in_transit\n"
    for arguments, stdin in (([], "n\n"), (["--dry-run"], ""), (["--dry-run", "--yes"], "")):
        result = run("sync", URL, shop, *arguments, stdin=stdin)
        assert (result.exit_code, result.stdout) == (1, difference)
        assert karla.webhooks == [before]

    shown = succeed("sync", URL, shop, "--yes")
    assert shown.startswith(difference)
    assert karla.webhooks[0].enabled_events == ("shipments/delivered", "claims")
    assert karla.webhooks[0].secret not in shown
    assert run("sync", URL, shop, "--dry-run").exit_code == 0


def test_a_sync_for_programs(karla: FakeKarla, shop: str, tmp_path: Path) -> None:
    file = tmp_path / "karla.secret"
    plan, created = lines("sync", URL, shop, "--yes", "--save-secret", str(file))
    (registered,) = karla.webhooks

    assert plan == {
        "type": "plan",
        "url": URL,
        "changes": [{"uuid": None, "added": ["shipments/delivered", "claims"], "removed": []}],
        "unchanged": [],
    }
    assert created["uuid"] == registered.uuid
    assert (created["secret"], created["secret_file"]) == (None, str(file))
    assert file.read_text() == registered.secret

    # The file is for a new secret: where none is made it stays as it is.
    (again,) = lines("sync", URL, shop, "--yes", "--save-secret", str(file))
    assert (again["changes"], again["unchanged"]) == ([], [registered.uuid])


def test_a_sync_without_an_answer_changes_nothing(karla: FakeKarla, shop: str) -> None:
    result = run("sync", URL, shop)
    assert result.exit_code == 2
    assert "say --yes" in result.stderr
    assert karla.webhooks == []


def test_a_receiver_may_lie_in_something(karla: FakeKarla, shop: str) -> None:
    assert "claims" in succeed("sync", URL, "shop_of_the_test:Shop.receiver", "--yes")


def test_the_users_own_secret_is_left_as_it_is(
    karla: FakeKarla, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KARLA_WEBHOOK_SECRETS", "one-of-the-users-own,another-of-their-own")
    succeed("sync", URL, shop, "--yes")
    assert "KARLA_WEBHOOK_SECRET" not in os.environ


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("shop_of_the_test", "as in 'shop.app:receiver', not 'shop_of_the_test'"),
        (":receiver", "as in 'shop.app:receiver', not ':receiver'"),
        ("shop_of_the_test:", "as in 'shop.app:receiver'"),
        ("not_there_at_all:receiver", "there is no module 'not_there_at_all'"),
        ("shop_of_the_test.sub:receiver", "there is no module 'shop_of_the_test.sub'"),
        ("not_there.at.all:receiver", "there is no module 'not_there.at.all'"),
        ("shop_of_the_test:nothing", "and found nothing"),
        ("shop_of_the_test:nothing.at.all", "and found nothing"),
        (
            "shop_of_the_test:text",
            "expected a Receiver at 'shop_of_the_test:text', and found a str",
        ),
        ("shop_of_the_test:idle", "no enabled event"),
    ],
)
def test_what_is_no_receiver_is_told(place: str, told: str, karla: FakeKarla, shop: str) -> None:
    assert told in refuse("sync", URL, place)
    assert karla.calls == []


@pytest.mark.parametrize(
    ("program_text", "told"),
    [
        ("import not_there_at_all", "ModuleNotFoundError: No module named 'not_there_at_all'"),
        ("raise ModuleNotFoundError('odd')", ", line 1: ModuleNotFoundError: odd"),
        ("1 / 0", "broken_of_the_test.py, line 1: ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", "line 1: SystemExit: 3"),
        ("def", "broken_of_the_test.py, line 1: SyntaxError"),
    ],
)
def test_a_module_that_fails_to_import_says_how(
    program_text: str, told: str, karla: FakeKarla, shop: str, tmp_path: Path
) -> None:
    (tmp_path / "broken_of_the_test.py").write_text(program_text)
    assert told in refuse("sync", URL, "broken_of_the_test:receiver")


def test_a_module_is_found_where_the_path_has_the_folder_already(
    karla: FakeKarla, shop: str, tmp_path: Path
) -> None:
    sys.path.insert(0, str(tmp_path))
    before = list(sys.path)
    succeed("sync", URL, shop, "--yes")
    assert sys.path == before


# --- failures ------------------------------------------------------------------------------------

COMMANDS = [
    ["list"],
    ["create", URL],
    ["update", URL, "--status", "active"],
    ["delete", URL, "--yes"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_without_credentials_it_says_what_to_set(
    command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KARLA_SHOP_SLUG", raising=False)
    monkeypatch.delenv("KARLA_API_KEY", raising=False)
    assert refuse(*command).startswith("karla-receiver: set KARLA_SHOP_SLUG and KARLA_API_KEY in")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_wrong_credentials_are_a_negative_result_and_never_shown(
    command: list[str], karla: FakeKarla, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KARLA_API_KEY", "canary-of-the-key")
    told = refuse(*command, exit_code=1)
    assert "Karla does not accept the user name and the API key" in told
    assert "canary-of-the-key" not in told


@pytest.mark.parametrize("arguments", [["delete", URL, "--yes"], ["create", "http://shop.example"]])
def test_a_traceback_is_for_those_who_ask(arguments: list[str], karla: FakeKarla) -> None:
    root = typer.Typer()

    @root.callback()
    def describe(debug: bool = False) -> None:
        """Take the option of the program."""

    root.add_typer(webhooks)
    quiet = CliRunner().invoke(root, ["webhooks", *arguments])
    asked = CliRunner().invoke(root, ["--debug", "webhooks", *arguments])

    assert isinstance(quiet.exception, SystemExit)
    assert quiet.stderr.startswith("karla-receiver: ")
    assert isinstance(asked.exception, KarlaReceiverError)
    assert asked.stderr == ""


@pytest.mark.parametrize("command", ["", "list", "create", "update", "delete", "rotate", "sync"])
def test_help_teaches_by_example_on_eighty_columns(command: str) -> None:
    shown = run(*filter(None, [command]), "--help").stdout
    assert f"   karla-receiver webhooks {command or 'sync'} " in shown or (
        f"\n karla-receiver webhooks {command}" in shown
    )
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.slow
def test_every_example_of_the_help_is_a_command_that_parses(
    karla: FakeKarla, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where the examples write their files
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("KARLA_WEBHOOK_SECRET", "a-secret-of-the-shop")
    for command in ("", "list", "create", "update", "delete", "sync"):
        shown = run(*filter(None, [command]), "--help").stdout.replace("\\", " ")
        _, _, examples = shown.partition("Examples:")
        examples = examples.partition("\u256d")[0].partition("Exit status")[0]
        calls = " ".join(examples.split()).split("karla-receiver webhooks ")[1:]
        assert calls
        for call in calls:
            words = call.partition("|")[0].split()
            assert "No such" not in run(*words).stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot be sent Ctrl-C alone")
def test_an_interrupt_leaves_quietly(karla: FakeKarla) -> None:
    karla.register(URL)
    environ = {**os.environ, **karla.environ}
    command = [sys.executable, "-W", "error", "-c", MAIN, "webhooks", "delete", URL]
    with subprocess.Popen(
        command,
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        asked = b""
        while not asked.endswith(b"[y/N] "):
            asked += process.stderr.read(1)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (output, errors.strip()) == (b"", b"")
    assert len(karla.webhooks) == 1
