"""Where threads stand still between requests no worker starts."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from karla_receiver import ConfigurationError
from karla_receiver.inbox import SQLiteInbox
from tests.inbox.stock import served

Place = Callable[[pytest.MonkeyPatch], None]


def in_lambda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "shop")


def in_uwsgi(**options: Any) -> Place:
    """Return what makes this process look like one of uWSGI's, with options as it has them."""
    named = {name.replace("_", "-"): value for name, value in options.items()}

    def enter(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "uwsgi", SimpleNamespace(opt=named))

    return enter


FROZEN = {
    "Lambda": (in_lambda, "AWS Lambda"),
    "uWSGI": (in_uwsgi(master=True), "enable-threads = true"),
    "uWSGI, off": (in_uwsgi(enable_threads=b"false"), "enable-threads = true"),
}
RUNNING = {
    "uWSGI with threads enabled": in_uwsgi(enable_threads=True),
    "uWSGI with threads enabled in a file": in_uwsgi(enable_threads=b"true"),
    "uWSGI with several threads": in_uwsgi(threads=b"4"),
    "uWSGI with greenlets": in_uwsgi(gevent=b"100"),
    "another server": lambda monkeypatch: None,
}


@pytest.mark.parametrize(("place", "message"), FROZEN.values(), ids=FROZEN)
def test_an_inbox_with_workers_is_refused_when_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Place, message: str
) -> None:
    place(monkeypatch)
    with pytest.raises(ConfigurationError, match=message):
        SQLiteInbox(tmp_path / "karla.db", workers=1)


@pytest.mark.parametrize(("place", "message"), FROZEN.values(), ids=FROZEN)
def test_a_worker_that_is_started_by_hand_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Place, message: str
) -> None:
    place(monkeypatch)
    inbox = SQLiteInbox(tmp_path / "karla.db")
    served(inbox, lambda event: None)
    with pytest.raises(ConfigurationError, match=message):
        inbox.start(1)


@pytest.mark.parametrize("place", RUNNING.values(), ids=RUNNING)
def test_where_threads_run_workers_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Place
) -> None:
    place(monkeypatch)
    SQLiteInbox(tmp_path / "karla.db", workers=1).close()
