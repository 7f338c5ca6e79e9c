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


def about_to_fork(worker: int, master: int, processes: int, **options: Any) -> Place:
    """Return what makes this process look like one of uWSGI's, while it loads the app."""
    named = {name.replace("_", "-"): value for name, value in options.items()}
    module = SimpleNamespace(
        opt={"enable-threads": True, **named},
        worker_id=lambda: worker,
        masterpid=lambda: master,
        numproc=processes,
    )
    return lambda monkeypatch: monkeypatch.setitem(sys.modules, "uwsgi", module)


# As uWSGI 2.0.30 tells of itself when it loads the app.
BEFORE_A_FORK = {
    "master": about_to_fork(0, 17, 1),
    "two processes": about_to_fork(0, 0, 2),
    "hooks, off": about_to_fork(0, 17, 1, py_call_uwsgi_fork_hooks=b"false"),
}
AFTER_A_FORK = {
    "one process": about_to_fork(0, 0, 1),
    "lazy-apps": about_to_fork(1, 17, 2),
    "hooks": about_to_fork(0, 17, 2, py_call_uwsgi_fork_hooks=b"true"),
}


@pytest.mark.parametrize("place", BEFORE_A_FORK.values(), ids=BEFORE_A_FORK)
def test_no_worker_starts_before_uwsgi_forks_but_the_inbox_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Place
) -> None:
    place(monkeypatch)
    inbox = SQLiteInbox(tmp_path / "karla.db", workers=1)
    served(inbox, lambda event: None)
    with pytest.raises(ConfigurationError, match="lazy-apps = true"):
        inbox.start()


@pytest.mark.parametrize("place", AFTER_A_FORK.values(), ids=AFTER_A_FORK)
def test_a_worker_starts_where_uwsgi_forks_no_more_or_tells_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Place
) -> None:
    place(monkeypatch)
    inbox = SQLiteInbox(tmp_path / "karla.db", workers=1)
    served(inbox, lambda event: None)
    inbox.start()
    inbox.close()
