from __future__ import annotations

from collections.abc import Generator

import pytest
from pytest_httpserver import HTTPServer

from karla_receiver.registration import KarlaAPI
from karla_receiver.testing.fake_karla import FakeKarla
from tests.registration.clients import client


@pytest.fixture(scope="session")
def server() -> Generator[HTTPServer]:
    with HTTPServer("127.0.0.1", 0) as running:
        yield running


@pytest.fixture
def karla(server: HTTPServer) -> Generator[FakeKarla]:
    server.clear()
    with FakeKarla(server=server) as fake:
        yield fake


@pytest.fixture
def api(karla: FakeKarla) -> Generator[KarlaAPI]:
    with client(karla.environ) as made:
        yield made
