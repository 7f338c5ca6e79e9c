from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from karla_receiver import registration
from karla_receiver.testing import fake_karla
from tests.test_layers import foreign, imports

REGISTRATION = sorted(Path(registration.__file__).parent.glob("*.py"))
FAKES = sorted(Path(fake_karla.__file__).parent.glob("fake_*.py"))

# What decides without network, and who may touch it.
TOUCHING_NETWORK = {"transport"}


@pytest.mark.parametrize("path", REGISTRATION, ids=lambda path: path.stem)
def test_registration_imports_the_core_and_one_http_client(path: Path) -> None:
    allowed = {"msgspec", "httpx2"} if path.stem in TOUCHING_NETWORK else {"msgspec"}
    assert foreign(path) <= allowed
    others = ("cli", "testing", "adapters", "samples")
    assert not any(
        name.startswith(f"karla_receiver.{each}") for name in imports(path) for each in others
    )


@pytest.mark.parametrize("path", FAKES, ids=lambda path: path.stem)
def test_the_fake_is_written_apart_from_the_client_that_it_tests(path: Path) -> None:
    assert foreign(path) <= {"msgspec", "httpx2", "pytest_httpserver", "werkzeug"}
    assert not any(name.startswith("karla_receiver.registration") for name in imports(path))


def test_there_is_something_to_check() -> None:
    assert len(REGISTRATION) > 10
    assert len(FAKES) == 3


def test_the_fake_needs_no_pytest() -> None:
    program = (
        "import sys; sys.modules['pytest'] = None; sys.modules['_pytest'] = None\n"
        "from karla_receiver.testing.fake_karla import FakeKarla\n"
        "with FakeKarla() as karla: print(karla.api_url)"
    )
    command = [sys.executable, "-W", "error", "-c", program]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.stderr == ""
    assert run.stdout.startswith("http://127.0.0.1:")
