"""Chunked bodies over real servers: docs/reasons/length_required.md says which take them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers.commands import started

pytestmark = pytest.mark.slow

APPS = "tests.servers.endless_apps"
UVICORN = "-m uvicorn --port {port} " + APPS
# What Python is run with, and what a chunked delivery is answered.
SERVERS = {
    "gunicorn": (
        f"-m gunicorn --bind 127.0.0.1:{{port}} --no-control-socket {APPS}:over_wsgi",
        200,
    ),
    "waitress": (f"-m waitress --listen 127.0.0.1:{{port}} {APPS}:over_wsgi", 200),
    "manage.py runserver": (f"-m {APPS} runserver --noreload --skip-checks {{port}}", 411),
    "a2wsgi": (f"{UVICORN}:over_a2wsgi", 411),
    "asgiref": (f"{UVICORN}:over_asgiref", 411),
    "starlette": (f"{UVICORN}:over_starlette", 411),
    "the ASGI middleware around a2wsgi": (f"{UVICORN}:around_a2wsgi", 200),
}


@pytest.mark.parametrize(("command", "status"), SERVERS.values(), ids=SERVERS)
def test_a_chunked_body_is_taken_if_the_server_tells_its_end_and_refused_if_not(
    tmp_path: Path, command: str, status: int
) -> None:
    with started(tmp_path, command) as server:
        assert server.get() == (200, b"the shop"), server.log
        assert server.deliver() == 200
        assert server.deliver(is_chunked=True) == status, server.log
        assert server.deliver(secret="another-secret") == 401
        assert ("length_required" in server.log) is (status == 411)
        assert ("wsgi.input_terminated: have the proxy in front" in server.log) is (status == 411)
