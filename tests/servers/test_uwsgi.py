"""A real uWSGI, which forks its workers off after it has loaded the app, without telling Python."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.inbox.stock import states
from tests.ports import reserved_port
from tests.servers.launching import ROOT
from tests.servers.wire import chunked
from tests.signing import BODY, signature_header
from tests.waiting import PATIENCE_SECONDS, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("pyuwsgi") is None, reason="pip install --group servers"),
]

RUN = "import pyuwsgi, sys; pyuwsgi.run(sys.argv[1:])"
OPTIONS = "--master --processes 2 --threads 2 --need-app --die-on-term --module"


class Uwsgi:
    """One that runs, or has ended."""

    def __init__(self, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
        self.port, self.process, self._log = port, process, log

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def post(self, body: bytes, *, is_chunked: bool = False) -> int:
        headers = signature_header(body)
        if is_chunked:
            headers["Transfer-Encoding"] = "chunked"
        return self._ask(
            "POST", "/webhooks/karla", chunked(body, 99) if is_chunked else body, headers
        )

    def is_up(self) -> bool:
        try:
            return self._ask("GET", "/") == 200
        except OSError:
            return False

    def _ask(self, *request: Any) -> int:
        with closing(
            HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        ) as connection:
            connection.request(*request)
            return connection.getresponse().status


@contextmanager
def uwsgi(folder: Path, *options: str, used: str = "", workers: int = 1) -> Generator[Uwsgi]:
    """Start uWSGI in a folder, and hand it out when it answers or has ended."""
    log = folder / "log"
    words = [*OPTIONS.split(), "tests.servers.uwsgi_app", *options]
    environ = {"USED_BEFORE_THE_FORK": used, "INBOX_WORKERS": str(workers)}
    with reserved_port() as port, log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, "--http-socket", f"127.0.0.1:{port}", *words],
            cwd=folder,
            env=os.environ | environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        started = Uwsgi(port, process, log)
        try:
            until(lambda: started.is_up() or process.poll() is not None, "uWSGI answers")
            yield started
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.parametrize(
    ("used", "options"),
    [
        ("", []),
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
            assert server.post(b'{"event_group": "claim_created", "n": %d}' % number) == 200, (
                server.log
            )
        total = 8 + (used == "put")
        until(lambda: [*states(tmp_path / "karla.db").values()] == ["done"] * total)


def test_a_file_in_use_at_the_fork_is_refused_in_the_workers_and_the_log_names_the_settings(
    tmp_path: Path,
) -> None:
    with uwsgi(tmp_path, used="put", workers=0) as server:
        assert server.post(BODY) == 503
        assert "`py-call-uwsgi-fork-hooks = true`, or `lazy-apps = true`" in server.log


def test_a_worker_that_is_started_before_the_fork_keeps_uwsgi_from_starting(tmp_path: Path) -> None:
    with uwsgi(tmp_path, used="start") as server:
        assert server.process.poll() is not None
        assert "set `lazy-apps = true` or `py-call-uwsgi-fork-hooks = true`" in server.log


def test_a_chunked_body_is_refused_as_uwsgi_does_not_tell_its_end(tmp_path: Path) -> None:
    with uwsgi(tmp_path) as server:
        assert server.post(BODY, is_chunked=True) == 411
        assert "length_required" in server.log
