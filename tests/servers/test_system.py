"""What takes several deliveries, or the server's end: the system cases, but for what is kept."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from karla_receiver import samples
from karla_receiver.request import SUCCESS
from tests.attack_table import load_cases
from tests.servers.launching import KINDS, Kind, Server, delivery, running
from tests.servers.live import ALIVE, CLOCKED, FAILING_ONCE, NEW, OLD, ROTATING, SLOW
from tests.servers.wire import exchange
from tests.waiting import until

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parent.parent
BODIES = [samples.read(name) for name in samples.names()]

RUN = {f"CONC-0{number:02}" for number in (5, 10, 19, 20, 22, 23, 25)} | {"RESO-019"}
# What a store, an inbox or a broker decides is run where they are.
RUN_ELSEWHERE = {
    "CONC-002": "idempotency/test_keys.py::test_without_a_function_the_raw_body_decides",
    "CONC-007": "test_keeping.py::test_a_near_duplicate_is_handled_and_told",
    "CONC-008": "idempotency/contract.py::test_an_option_that_cannot_work_is_refused",
    "CONC-009": "idempotency/contract.py"
    "::test_what_is_done_stays_done_for_the_window_and_no_longer",
    "CONC-011": "test_keeping.py::test_what_was_handled_or_is_being_handled_is_not_handled",
    "CONC-012": "faults/test_faults.py"
    "::test_what_is_acknowledged_survives_kill_9_and_takes_effect_once",
    "CONC-013": "faults/test_faults.py"
    "::test_what_is_acknowledged_survives_kill_9_and_takes_effect_once",
    "CONC-014": "sqlite/test_file.py"
    "::test_a_file_that_another_process_locks_is_waited_for_and_then_refused",
    "CONC-015": "sqlite/test_file.py"
    "::test_a_full_disk_is_refused_and_used_again_when_there_is_room",
    "CONC-016": "sqlite/test_file.py::test_a_deleted_file_is_noticed_and_then_made_anew",
    "CONC-017": "adapters/test_redis.py::test_a_redis_that_is_down_is_a_storage_error_at_once",
    "CONC-018": "adapters/test_redis.py::test_a_killed_redis_remembers_what_it_has_written_down",
}


def test_every_system_case_is_run_here_or_elsewhere() -> None:
    assert {case.id for case in load_cases("system")} == RUN | RUN_ELSEWHERE.keys()
    assert not RUN & RUN_ELSEWHERE.keys()
    for test in RUN_ELSEWHERE.values():
        file, name = test.split("::")
        assert f"def {name}(" in (TESTS / file).read_text(), test


def calls(server: Server, start: int, name: str) -> int:
    return sum(entry.kind == "called" for entry in server.journal.since(start, name))


def reasons(server: Server, start: int, name: str) -> list[str]:
    entries = server.journal.since(start, name)
    return [entry.detail for entry in entries if entry.kind == "refused"]


def test_two_events_of_one_shipment_are_two_events(server: Server) -> None:
    """CONC-005."""
    start = server.journal.size()
    for name in ("IN_TRANSIT", "DELIVERED"):
        body = b'{"event_group":"x","event_data":{"shipment_id":"1","name":"%s"}}'
        assert server.deliver(body=body % name.encode()).status == 200
    assert calls(server, start, ALIVE) == 2


def test_what_a_handler_failed_at_is_handled_when_it_is_sent_again(server: Server) -> None:
    """CONC-010."""
    start = server.journal.size()
    assert [server.deliver(FAILING_ONCE).status for _ in range(2)] == [500, 200]
    assert calls(server, start, FAILING_ONCE) == 2
    assert reasons(server, start, FAILING_ONCE) == ["handler_error"]


def test_a_clock_that_jumps_refuses_for_as_long_as_it_is_wrong(server: Server) -> None:
    """CONC-025."""
    at = 1_700_000_000
    clock = server.journal.path.parent / CLOCKED
    start = server.journal.size()

    def answer(now: int) -> int:
        clock.write_text(str(now))
        return exchange(server.port, [delivery(CLOCKED, at=at)])[0].status

    jumps = (0, 3600, 0, -3600, 0)
    assert [answer(at + jump) for jump in jumps] == [200, 401, 200, 401, 200]
    assert reasons(server, start, CLOCKED) == ["timestamp_too_old", "timestamp_in_future"]
    assert calls(server, start, CLOCKED) == 3


def test_64_senders_at_once_get_no_wrong_answer(server: Server) -> None:
    """CONC-020."""
    start = server.journal.size()

    def send(sender: int) -> None:
        for turn in range(5):
            body = BODIES[(sender + turn) % len(BODIES)]
            assert server.deliver(body=body).status == 200
            forged = delivery(ALIVE, body, secret=NEW)
            (answer,) = exchange(server.port, [forged])
            assert answer.status == 401

    with ThreadPoolExecutor(64) as pool:
        for done in [pool.submit(send, sender) for sender in range(64)]:
            done.result()
    assert calls(server, start, ALIVE) == 64 * 5
    assert reasons(server, start, ALIVE) == ["signature_mismatch"] * 64 * 5


def test_secrets_are_rotated_while_requests_run_with_no_false_refusal(
    server: Server, record_property: Callable[[str, object], None]
) -> None:
    """CONC-019."""
    start = server.journal.size()

    def send(secret: str) -> set[int]:
        return {server.deliver(ROTATING, secret=secret).status for _ in range(200)}

    def rotate_while_sent(secret: str, *steps: str) -> int:
        rotations = 0
        with ThreadPoolExecutor(4) as pool:
            senders = [pool.submit(send, secret) for _ in range(4)]
            while wait(senders, timeout=0).not_done or rotations < len(steps):
                server.control(f"secrets/{steps[rotations % len(steps)]}")
                rotations += 1
            assert [sender.result() for sender in senders] == [{200}] * 4
        return rotations

    # Whatever else is valid, and wherever it is listed, what is valid all the time is never refused
    rotations = rotate_while_sent(OLD, "old", "new-old", "old-new")
    server.control("secrets/new-old")  # from here on Karla may sign with the new one
    rotations += rotate_while_sent(NEW, "new-old", "new")
    record_property("rotations", rotations)
    assert reasons(server, start, ROTATING) == []
    assert calls(server, start, ROTATING) == 2 * 4 * 200

    server.control("secrets/new")
    assert server.deliver(ROTATING, secret=NEW).status == 200
    assert server.deliver(ROTATING, secret=OLD).status == 401
    assert reasons(server, start, ROTATING) == ["signature_mismatch"]
    server.control("secrets/old")


@contextmanager
def slow_senders(server: Server, count: int) -> Generator[None]:
    """Keep connections open on which a head has begun, and does not go on."""
    with ExitStack() as connections:
        for _ in range(count):
            connection = socket.create_connection(("127.0.0.1", server.port))
            connections.enter_context(connection).sendall(delivery(ALIVE)[:20])
        yield


def test_slow_senders_stop_others_only_where_there_is_nobody_left_to_serve(
    server: Server,
) -> None:
    at_once = server.kind.at_once
    with slow_senders(server, at_once - 1 if at_once else 100):
        assert server.deliver().status == 200
    if at_once:
        with ThreadPoolExecutor(1) as pool:
            with slow_senders(server, at_once):
                waiting = pool.submit(server.deliver)
                assert wait([waiting], timeout=0.5).not_done
            assert waiting.result().status == 200


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_server_that_is_stopped_acknowledges_nothing_that_was_not_handled(
    kind: Kind, tmp_path: Path
) -> None:
    """CONC-023."""

    def send(server: Server) -> list[int]:
        try:
            answers = exchange(server.port, [delivery(SLOW)])
        except OSError:  # nobody is there any more
            return []
        assert all(answer.body == SUCCESS.body for answer in answers if answer.status == 200)
        return [answer.status for answer in answers]

    with running(kind, tmp_path) as server, ThreadPoolExecutor(100) as pool:
        senders = [pool.submit(send, server) for _ in range(100)]
        until(lambda: calls(server, 0, SLOW), "a delivery is being handled")
        server.process.send_signal(signal.SIGTERM)
        statuses = [status for sender in senders for status in sender.result()]
        until(lambda: server.process.poll() is not None, f"{kind.name} ends")
        handled = calls(server, 0, SLOW)

    assert set(statuses) <= {200, 500, 503}
    assert len(statuses) <= 100
    assert statuses.count(200) <= handled
