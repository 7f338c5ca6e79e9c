"""One receiver, used by many at once, and rotated while it is used."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from karla_receiver import ConfigurationError, Event, Reason, Receiver, Request, samples
from tests.signing import signature_header, signed

BODIES = [samples.read(name) for name in samples.names()]
OLD, NEW = "old-secret-old-secret", "new-secret-new-secret"


def in_threads(count: int, work: Callable[[int], None]) -> None:
    with ThreadPoolExecutor(count) as pool:
        for result in [pool.submit(work, number) for number in range(count)]:
            result.result()


def test_64_threads_share_a_receiver_without_one_wrong_answer() -> None:
    receiver = Receiver(OLD)
    refs: list[str | None] = []
    receiver.on("*")(lambda event: refs.append(event.ref))

    def work(number: int) -> None:
        for turn in range(20):
            body = BODIES[(number + turn) % len(BODIES)]
            forged = BODIES[(number + turn + 1) % len(BODIES)]
            assert receiver.receive(signed(body, OLD)).status == 200
            header = signature_header(body, OLD)
            refusal = receiver.receive(Request("POST", header, forged))
            assert refusal.reason is Reason.SIGNATURE_MISMATCH

    in_threads(64, work)
    assert len(refs) == 64 * 20


def test_two_event_loops_share_a_receiver() -> None:
    receiver = Receiver(OLD)
    seen: list[int] = []

    @receiver.on("*")
    async def asynchronous(event: Event) -> None:
        await asyncio.sleep(0)
        seen.append(threading.get_ident())

    @receiver.on("*")
    def synchronous(event: Event) -> None:
        """Run in a thread of the loop's own pool."""

    async def serve() -> None:
        requests = [receiver.receive_async(signed(body, OLD)) for body in BODIES]
        assert {response.status for response in await asyncio.gather(*requests)} == {200}

    in_threads(2, lambda number: asyncio.run(serve()))
    assert len(seen) == 2 * len(BODIES)
    assert len(set(seen)) == 2


def test_a_receiver_made_before_a_fork_works_in_the_child() -> None:
    receiver = Receiver(OLD)
    receiver.on("*")(lambda event: None)
    child = os.fork()
    if child == 0:  # leave without pytest's own clean-up, whatever happens
        status = 1
        try:
            status = receiver.receive(signed(BODIES[0], OLD)).status
        finally:
            os._exit(0 if status == 200 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert receiver.receive(signed(BODIES[0], OLD)).status == 200


def test_secrets_are_rotated_under_load_with_no_false_answer() -> None:
    receiver = Receiver(OLD)
    stop = threading.Event()
    answers: list[int] = []

    def sender() -> None:
        while not stop.is_set():
            answers.extend(receiver.receive(signed(body, OLD)).status for body in BODIES[:3])

    threads = [threading.Thread(target=sender) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        valid: list[tuple[tuple[str | bytes, ...], int]] = [
            ((OLD,), 401),
            ((NEW, OLD), 200),
            ((OLD, NEW), 200),
            ((b"third", OLD), 401),
        ]
        for secrets, status in valid * 100:
            receiver.replace_secrets(*secrets)
            # What is new counts from here on, and what is gone is gone.
            assert receiver.receive(signed(BODIES[0], NEW)).status == status
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert answers
    assert set(answers) == {200}

    receiver.replace_secrets(NEW)
    assert receiver.receive(signed(BODIES[0], OLD)).reason is Reason.SIGNATURE_MISMATCH


@pytest.mark.parametrize("secrets", [(), ("",), (NEW, "")])
def test_an_unusable_replacement_changes_nothing(secrets: tuple[str, ...]) -> None:
    receiver = Receiver(OLD)

    with pytest.raises(ConfigurationError):
        receiver.replace_secrets(*secrets)
    assert receiver.receive(signed(BODIES[0], OLD)).status == 200
    assert receiver.receive(signed(BODIES[0], NEW)).status == 401


FIRST_EVENTS = """
import sys, threading
from karla_receiver import parse_event
sys.setswitchinterval(1e-6)
barrier = threading.Barrier(4)
def read():
    barrier.wait()
    parse_event(b'{"event_group":"x"}')
threads = [threading.Thread(target=read) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


@pytest.mark.slow
def test_the_first_events_may_be_read_by_many_threads_at_once() -> None:
    command = [sys.executable, "-c", FIRST_EVENTS]
    for _ in range(3):  # a third of all runs crashed when msgspec met a type in two threads
        children = [subprocess.Popen(command) for _ in range(4)]
        assert [child.wait() for child in children] == [0] * 4
