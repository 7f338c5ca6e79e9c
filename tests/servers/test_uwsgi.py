"""A real uWSGI, which forks its workers off after it has loaded the app, without telling Python."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.inbox.stock import states
from tests.servers.commands import Started, started
from tests.waiting import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("pyuwsgi") is None, reason="pip install --group servers"),
]

RUN = (
    "-c 'import pyuwsgi, sys; pyuwsgi.run(sys.argv[1:])' --http-socket 127.0.0.1:{port}"
    " --master --processes 2 --threads 2 --need-app --die-on-term --module tests.servers.uwsgi_app"
)


@contextmanager
def uwsgi(
    folder: Path, *options: str, used: str = "nothing", workers: int = 1
) -> Generator[Started]:
    """Start uWSGI in a folder, and hand it out when it answers or has ended."""
    environ = {"USED_BEFORE_THE_FORK": used, "INBOX_WORKERS": str(workers)}
    with started(folder, " ".join([RUN, *options]), **environ) as server:
        yield server


@pytest.mark.parametrize(
    ("used", "options"),
    [
        ("nothing", []),
        ("put", ["--py-call-uwsgi-fork-hooks"]),
        ("start", ["--py-call-uwsgi-fork-hooks"]),
        ("start", ["--lazy-apps"]),
    ],
    ids=["unused", "used, with hooks", "started, with hooks", "started, with lazy-apps"],
)
def test_every_delivery_is_kept_and_handled_in_the_workers(
    tmp_path: Path, used: str, options: list[str]
) -> None:
    with uwsgi(tmp_path, *options, used=used) as server:
        for number in range(8):
            assert server.deliver(b'{"event_group": "claim_created", "n": %d}' % number) == 200, (
                server.log
            )
        total = 8 + (used == "put")
        until(lambda: [*states(tmp_path / "karla.db").values()] == ["done"] * total)


def test_a_file_in_use_at_the_fork_is_refused_in_the_workers_and_the_log_names_the_settings(
    tmp_path: Path,
) -> None:
    with uwsgi(tmp_path, used="put", workers=0) as server:
        assert server.deliver() == 503
        assert "`py-call-uwsgi-fork-hooks = true`, or `lazy-apps = true`" in server.log


def test_a_worker_that_is_started_before_the_fork_keeps_uwsgi_from_starting(tmp_path: Path) -> None:
    with uwsgi(tmp_path, used="start") as server:
        assert server.has_ended
        assert "set `lazy-apps = true` or `py-call-uwsgi-fork-hooks = true`" in server.log


def test_a_chunked_body_is_refused_as_uwsgi_does_not_tell_its_end(tmp_path: Path) -> None:
    with uwsgi(tmp_path) as server:
        assert server.deliver(is_chunked=True) == 411
        assert "length_required" in server.log
