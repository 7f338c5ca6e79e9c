"""SIGTERM to real servers, with a hundred deliveries on their way into the inbox."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.serving import IN_FLIGHT, SERVERS, body_of, deliver, serving
from tests.inbox.stock import states
from tests.waiting import PATIENCE_SECONDS, until

pytestmark = pytest.mark.slow


def keys(numbers: list[int]) -> set[str]:
    return {hashlib.sha256(body_of(number)).hexdigest() for number in numbers}


@pytest.mark.parametrize("name", SERVERS)
def test_what_is_in_flight_at_sigterm_is_kept_and_acknowledged(name: str, tmp_path: Path) -> None:
    came = tmp_path / "came"
    with (
        serving(name, tmp_path, workers=2) as (server, port),
        ThreadPoolExecutor(IN_FLIGHT) as pool,
    ):
        answers = [pool.submit(deliver, port, number) for number in range(IN_FLIGHT)]
        until(lambda: came.exists() and came.stat().st_size == IN_FLIGHT)
        server.terminate()
        (tmp_path / "gate").touch()
        assert [answer.result() for answer in answers] == [200] * IN_FLIGHT
        server.wait(PATIENCE_SECONDS)
    assert set(states(tmp_path / "karla.db")) == keys(list(range(IN_FLIGHT)))


@pytest.mark.parametrize("name", SERVERS)
def test_nothing_that_was_acknowledged_before_or_after_sigterm_is_lost(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "gate").touch()
    came = tmp_path / "came"
    with (
        serving(name, tmp_path, workers=2) as (server, port),
        ThreadPoolExecutor(IN_FLIGHT) as pool,
    ):

        def deliver_until_refused(sender: int) -> tuple[list[int], list[int]]:
            acknowledged: list[int] = []
            number = sender
            while (status := deliver(port, number)) == 200:
                acknowledged.append(number)
                number += IN_FLIGHT
            return acknowledged, [number] if status is None else []

        senders = [pool.submit(deliver_until_refused, number) for number in range(IN_FLIGHT)]
        until(lambda: came.exists() and came.stat().st_size >= 5 * IN_FLIGHT)
        server.terminate()
        server.wait(PATIENCE_SECONDS)
        results = [sender.result() for sender in senders]
    acknowledged = keys([number for numbers, _ in results for number in numbers])
    unanswered = keys([number for _, numbers in results for number in numbers])
    stored = set(states(tmp_path / "karla.db"))
    print(f"{name}: {len(acknowledged)} acknowledged, {len(stored)} stored")  # noqa: T201 - pytest -s
    assert len(acknowledged) >= 4 * IN_FLIGHT
    assert acknowledged <= stored
    assert stored - acknowledged <= unanswered
