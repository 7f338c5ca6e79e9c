from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from karla_receiver import ConfigurationError
from karla_receiver.cli.program import program
from karla_receiver.cli.work import _stop_with  # pyright: ignore[reportPrivateUsage]
from karla_receiver.inbox import SQLiteInbox
from tests.inbox.stock import delivery, states
from tests.waiting import PATIENCE_SECONDS, until

PROGRAM = """
import msgspec, time
from karla_receiver import Receiver, current_attempt
from karla_receiver.inbox import SQLiteInbox
inbox = SQLiteInbox("karla.db", lease=1)
inbox._options = msgspec.structs.replace(inbox._options, poll=0.01, last_wait=0.1)
receiver = Receiver("secret-of-the-shop", inbox=inbox)
without = Receiver("secret-of-the-shop")
@receiver.on("*")
def handle(event):
    with open("handled", "a") as file:
        file.write("x")
    {before}
    time.sleep({seconds})
"""


@pytest.fixture(name="shop")
def _shop(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(PROGRAM.format(seconds=0, before=""))
    return tmp_path


def work(shop: Path, *arguments: str) -> subprocess.Popen[str]:
    program = "from karla_receiver.cli import main; main()"
    command = [sys.executable, "-c", program, "work", *arguments]
    return subprocess.Popen(
        command, cwd=shop, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def put(shop: Path, count: int) -> None:
    inbox = SQLiteInbox(shop / "karla.db")
    for number in range(count):
        inbox.put(delivery(str(number)))
    inbox.close()


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_it_handles_until_it_is_told_to_stop(shop: Path, number: signal.Signals) -> None:
    put(shop, 5)
    process = work(shop, "shop:receiver", "--threads", "2")
    until(lambda: set(states(shop / "karla.db").values()) == {"done"})
    put(shop, 8)  # by another process, while it works
    until(lambda: list(states(shop / "karla.db").values()).count("done") == 8)
    process.send_signal(number)
    _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, errors
    assert (shop / "handled").read_text() == "x" * 8
    assert errors.startswith(
        "handling the inbox of shop:receiver with 2 threads; Ctrl-C stops it\n"
    )
    assert "stopping: what runs is finished" in errors


@pytest.mark.slow
def test_sigterm_with_a_hundred_waiting_finishes_what_runs_and_returns_the_rest(shop: Path) -> None:
    (shop / "shop.py").write_text(PROGRAM.format(seconds=0.3, before=""))
    put(shop, 100)
    process = work(shop, "shop:receiver", "--threads", "4")
    until((shop / "handled").exists)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, errors
    counted = list(states(shop / "karla.db").values())
    assert counted.count("done") == len((shop / "handled").read_text())
    assert counted.count("waiting") == 100 - counted.count("done")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "state"),
    [
        ("", "waiting"),
        # What has the transaction keeps the note from being written: it is taken over later.
        ("current_attempt().transaction; open('begun', 'w').close()", "running"),
    ],
)
def test_what_hangs_is_left_after_the_grace(shop: Path, before: str, state: str) -> None:
    (shop / "shop.py").write_text(PROGRAM.format(seconds=60, before=before))
    put(shop, 1)
    process = work(shop, "shop:receiver", "--grace", "0.1")
    until((shop / ("begun" if before else "handled")).exists)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1, errors
    assert states(shop / "karla.db") == {"0": state}


def test_a_worker_that_cannot_be_stopped_is_a_failure(
    shop: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stop = SQLiteInbox.stop

    def stop_and_fail(inbox: SQLiteInbox, grace: float) -> None:
        stop(inbox, grace)
        raise RuntimeError

    put(shop, 1)
    monkeypatch.setattr(SQLiteInbox, "stop", stop_and_fail)
    timer = threading.Thread(target=signal_when_done, args=(shop,))
    timer.start()
    result = work_here(shop, monkeypatch, "shop:receiver")
    timer.join()
    assert result.exit_code == 1, result.output
    assert "the worker could not be stopped" in caplog.text


@pytest.mark.slow
def test_a_second_signal_ends_it_at_once(shop: Path) -> None:
    (shop / "shop.py").write_text(PROGRAM.format(seconds=60, before=""))
    put(shop, 1)
    process = work(shop, "shop:receiver")
    until((shop / "handled").exists)
    process.send_signal(signal.SIGTERM)
    assert process.stderr
    while "stopping" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 128 + signal.SIGINT


WRITE_IT = "karla-receiver: write module and name of the receiver, as in 'shop.app:receiver', not "


@pytest.mark.parametrize(
    ("target", "message"),
    [
        *((given, f"{WRITE_IT}{given!a}:") for given in ("shop", ":receiver", "shop:")),
        *((given, f"{WRITE_IT}{given!a}:") for given in ("./shop:receiver", ".shop:receiver")),
        *((given, f"{WRITE_IT}{given!a}:") for given in ("../shop:receiver", "shop.:receiver")),
        ("shop.py:receiver", "karla-receiver: there is no module 'shop.py' in "),
        ("nowhere.at.all:receiver", "karla-receiver: there is no module 'nowhere.at.all' in "),
        (
            "shop:nothing",
            "karla-receiver: expected a Receiver at 'shop:nothing', and found nothing\n",
        ),
        (
            "shop:handle",
            "karla-receiver: expected a Receiver at 'shop:handle', and found a function\n",
        ),
        ("shop:without", "karla-receiver: 'shop:without' has no SQLiteInbox to work on"),
    ],
)
def test_a_wrong_target_is_refused(
    shop: Path, monkeypatch: pytest.MonkeyPatch, target: str, message: str
) -> None:
    result = work_here(shop, monkeypatch, target)
    assert result.exit_code == 2
    assert result.stderr.startswith(message)


def work_here(
    shop: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str, before: tuple[str, ...] = ()
) -> Result:
    monkeypatch.chdir(shop)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "shop", raising=False)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        return CliRunner().invoke(program, [*before, "work", *arguments])
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        sys.modules.pop("shop", None)


def test_a_worker_that_cannot_start_says_why(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(inbox: SQLiteInbox, threads: int) -> None:
        raise ConfigurationError("it cannot be")

    monkeypatch.setattr(SQLiteInbox, "start", refuse)
    result = work_here(shop, monkeypatch, "shop:receiver")
    assert (result.exit_code, result.stderr) == (2, "karla-receiver: it cannot be\n")


def signal_when_done(shop: Path) -> None:
    until(lambda: set(states(shop / "karla.db").values()) == {"done"})
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_stops_it(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[_stop_with.__module__], "_WAIT_SECONDS", 0.001)
    put(shop, 3)
    timer = threading.Thread(target=signal_when_done, args=(shop,))
    timer.start()
    result = work_here(shop, monkeypatch, "shop:receiver")
    timer.join()
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("\nx = 1 / 0", 2, "ZeroDivisionError: division by zero"),
        ("import not_there_at_all", 1, "ModuleNotFoundError: No module named 'not_there_at_all'"),
        ("import json\n\njson.loads('x')", 3, "JSONDecodeError: Expecting value"),
        ("\ndef", 2, "SyntaxError: invalid syntax"),
        (
            "from karla_receiver import Receiver\nreceiver = Receiver.from_env()",
            2,
            "ConfigurationError: set KARLA_WEBHOOK_SECRET",
        ),
    ],
)
def test_a_module_that_fails_names_the_users_line(
    shop: Path, monkeypatch: pytest.MonkeyPatch, text: str, line: int, told: str
) -> None:
    for variable in ("KARLA_WEBHOOK_SECRET", "KARLA_WEBHOOK_SECRETS"):
        monkeypatch.delenv(variable, raising=False)
    (shop / "shop.py").write_text(text)
    result = work_here(shop, monkeypatch, "shop:receiver")
    assert result.exit_code == 2
    assert result.stderr.startswith(
        f"karla-receiver: importing 'shop' failed at {shop / 'shop.py'}, line {line}: {told}"
    )


def test_with_debug_a_module_that_fails_shows_its_traceback(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shop / "shop.py").write_text("1 / 0")
    result = work_here(shop, monkeypatch, "shop:receiver", before=("--debug",))
    assert isinstance(result.exception, ConfigurationError)
    assert isinstance(result.exception.__cause__, ZeroDivisionError)


def test_the_first_signal_is_a_request_and_the_second_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    stopping = threading.Event()
    stop = _stop_with(stopping)
    stop(signal.SIGTERM, None)
    assert stopping.is_set()
    assert codes == []
    stop(signal.SIGINT, None)
    assert codes == [128 + signal.SIGINT]
