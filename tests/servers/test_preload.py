"""One receiver, made before gunicorn forks its workers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from karla_receiver import samples
from tests.servers.launching import PRELOADED, Kind, Server, delivery, running
from tests.servers.live import ALIVE, NEW
from tests.servers.wire import exchange
from tests.waiting import until

pytestmark = pytest.mark.slow

BODIES = [samples.read(name) for name in samples.names()]


@pytest.mark.parametrize("kind", PRELOADED, ids=lambda kind: kind.name)
def test_forked_workers_share_a_receiver_without_one_wrong_answer(
    kind: Kind, tmp_path: Path
) -> None:
    with running(kind, tmp_path) as server:
        sent = 0

        def all_have_worked() -> bool:
            nonlocal sent
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(lambda _: send(server), range(8)))
            sent += 8
            return sent >= 64 and len(workers(server)) == 4

        until(all_have_worked, "all four workers have handled a delivery")
        (made,) = (entry for entry in server.journal.since(0) if entry.kind == "made")
        assert made.process == server.process.pid  # before the forks, and once
        assert made.process not in workers(server)
        entries = server.journal.since(0, ALIVE)
        assert sum(entry.kind == "called" for entry in entries) == sent * len(BODIES)
        refusals = [entry.detail for entry in entries if entry.kind == "refused"]
        assert refusals == ["signature_mismatch"] * sent * len(BODIES)


def workers(server: Server) -> set[int]:
    return {entry.process for entry in server.journal.since(0) if entry.kind == "called"}


def send(server: Server) -> None:
    for body in BODIES:
        assert server.deliver(body=body).status == 200
        (answer,) = exchange(server.port, [delivery(ALIVE, body, secret=NEW)])
        assert answer.status == 401
