from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.servers.launching import KINDS, Kind, Server, running


@pytest.fixture(scope="session", params=KINDS, ids=lambda kind: kind.name)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Server]:
    """Each server in turn, one process at a time, for all tests that ask for one."""
    kind: Kind = request.param
    with running(kind, tmp_path_factory.mktemp(kind.name)) as started:
        yield started
