"""Runs every example as its first lines say: a real server, and a delivery sent to it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from karla_receiver.testing import assert_endpoint_is_safe
from tests.frameworks.chosen import FRAMEWORKS
from tests.frameworks.contract import Example
from tests.signing import SECRET
from tests.waiting import PATIENCE_SECONDS

FOLDER = Path(__file__).parent.parent / "examples"
TESTS = "test_my_receiver"
# What is no server.
TOOLS = {"send", TESTS}


EXAMPLES = {
    "legacy_wsgi": Example("legacy_wsgi.py", "shipment_delivered: order NT-20417"),
    **{name: one for framework in FRAMEWORKS.values() for name, one in framework.examples.items()},
}


def environment(secret: str) -> dict[str, str]:
    return {**os.environ, "KARLA_WEBHOOK_SECRET": secret, "PORT": "0", "PYTHONUNBUFFERED": "1"}


@contextmanager
def served(command: str) -> Generator[subprocess.Popen[str]]:
    """Run a server from the examples' folder; whatever happens, it is gone after minutes."""
    process = subprocess.Popen(
        [sys.executable, *command.split()],
        cwd=FOLDER,
        env=environment(SECRET),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    watchdog = threading.Timer(5 * PATIENCE_SECONDS, process.kill)
    watchdog.start()
    try:
        yield process
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()


def read_until(process: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    """Read what a server prints until a line matches; fail if it ends before."""
    assert process.stdout is not None
    seen: list[str] = []
    for line in process.stdout:
        seen.append(line)
        match = re.search(pattern, line)
        if match is not None:
            return match
    pytest.fail(f"{pattern!r} is not in:\n{''.join(seen)}")


def send(url: str, *arguments: str, secret: str = SECRET) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "send.py", url, *arguments],
        cwd=FOLDER,
        env=environment(secret),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


@pytest.mark.parametrize(
    "example",
    [
        pytest.param(example, id=name, marks=[] if name == "flask_shop" else pytest.mark.slow)
        for name, example in EXAMPLES.items()
    ],
)
def test_an_example_handles_a_genuine_delivery_and_refuses_a_forged_one(example: Example) -> None:
    with served(example.command) as process:
        origin = read_until(process, r"http://127\.0\.0\.1:\d+")[0]
        forged = send(f"{origin}/webhooks/karla", secret="another-secret-16")
        genuine = send(f"{origin}/webhooks/karla")

        assert "401" in forged.stderr
        assert genuine.stdout.startswith("200 "), genuine.stderr
        read_until(process, example.handled)


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
def test_an_example_is_safe_on_its_real_server(example: Example) -> None:
    with served(example.command) as process:
        origin = read_until(process, r"http://127\.0\.0\.1:\d+")[0]
        # What it prints has to go somewhere, or it would wait for a reader.
        assert process.stdout is not None
        threading.Thread(target=process.stdout.read, daemon=True).start()

        report = assert_endpoint_is_safe(f"{origin}/webhooks/karla", secret=SECRET)

    assert report.sent > 240


@pytest.mark.slow
def test_the_tests_of_the_example_pass() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"{TESTS}.py"],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        timeout=5 * PATIENCE_SECONDS,
        check=False,
    )
    assert re.search(r"^5 passed", run.stdout, re.MULTILINE), run.stdout


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_says_first_how_to_run_it(path: Path) -> None:
    head = path.read_text()[:700]

    assert "Run it:" in head
    assert path.stem in TOOLS or "send.py http://127.0.0.1:" in head
    # tests/many_machines runs the example of that name.
    assert path.stem in {"many_machines", *TOOLS, *EXAMPLES}


def test_the_sender_says_how_it_is_used() -> None:
    bare = subprocess.run(
        [sys.executable, "send.py"], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert bare.returncode == 1
    assert "Run it:" in bare.stderr
    assert "must start with http://" in send("ftp://127.0.0.1").stderr
