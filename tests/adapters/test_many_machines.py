"""Two web processes and two workers over real brokers: what is acknowledged is handled."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu import Connection, Queue

from karla_receiver import Receiver, samples, sign
from karla_receiver.adapters.celery import CeleryInbox
from karla_receiver.errors import StorageError
from tests.adapters.celery_shop import SECRET
from tests.adapters.test_celery import delivery
from tests.idempotency.contract import in_child
from tests.rabbitmq_server import RabbitServer, running_rabbitmq
from tests.redis_server import RedisServer, running_redis

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def rabbitmq() -> Generator[RabbitServer]:
    with running_rabbitmq() as server:
        yield server


@pytest.fixture(scope="module")
def redis() -> Generator[RedisServer]:
    with running_redis(appendonly=True) as server:
        yield server


@pytest.fixture(params=["rabbitmq", "redis"])
def broker(request: pytest.FixtureRequest) -> RabbitServer | RedisServer:
    server: RabbitServer | RedisServer = request.getfixturevalue(request.param)
    return server


def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# --- what the broker's word is worth -------------------------------------------------------------


@contextlib.contextmanager
def inbox_over(url: str, queue: str, **options: Any) -> Generator[CeleryInbox]:
    inbox = CeleryInbox(Celery(broker=url, set_as_current=False), queue=queue, **options)
    Receiver(SECRET, inbox=inbox)
    try:
        yield inbox
    finally:
        inbox.close()


def kept_in(url: str, name: str) -> list[str]:
    """Take all that is in a queue; return the deliveries' keys."""
    keys: list[str] = []
    with Connection(url) as connection:
        queue: Any = Queue(name)(connection.default_channel)
        queue.declare()
        while (message := queue.get()) is not None:
            keys.append(message.payload[0][0]["delivery"]["key"])
            message.ack()
    return keys


def test_what_was_confirmed_survives_a_broker_that_is_killed(
    broker: RabbitServer | RedisServer,
) -> None:
    with inbox_over(broker.url, "killed", timeout=20) as inbox:
        acknowledged = [str(number) for number in range(200)]
        for key in acknowledged:
            inbox.put(delivery(key=key))
        broker.kill()
        with pytest.raises(StorageError):
            inbox.put(delivery(key="refused"))
        broker.start()

        inbox.put(delivery(key="afterwards"))
    assert sorted(kept_in(broker.url, "killed")) == sorted([*acknowledged, "afterwards"])


def test_a_redis_without_persistence_keeps_nothing() -> None:
    with running_redis() as server, inbox_over(server.url, "forgotten") as inbox:
        inbox.put(delivery())
        server.kill()
        server.start()
        assert kept_in(server.url, "forgotten") == []


def test_a_broker_that_hangs_is_a_storage_error_and_no_longer_one_when_it_goes_on(
    broker: RabbitServer | RedisServer,
) -> None:
    with inbox_over(broker.url, "hung", publishers=2) as inbox:
        until(lambda: is_put(inbox))
        with broker.paused():
            start = time.monotonic()
            for _ in range(3):
                with pytest.raises(StorageError):
                    inbox.put(delivery())
            assert time.monotonic() - start < 6
        until(lambda: is_put(inbox))
    assert len(kept_in(broker.url, "hung")) >= 2  # it may take up later what it was sent before


def is_put(inbox: CeleryInbox) -> bool:
    try:
        return inbox.put(delivery())
    except StorageError:
        return False


def test_a_queue_that_is_gone_is_made_anew_before_anything_is_confirmed(
    rabbitmq: RabbitServer,
) -> None:
    with inbox_over(rabbitmq.url, "deleted", publishers=1, timeout=20) as inbox:
        for key in "ab":
            inbox.put(delivery(key=key))
            with Connection(rabbitmq.url) as connection:
                Queue("deleted")(connection.default_channel).delete()
        inbox.put(delivery(key="c"))
    assert kept_in(rabbitmq.url, "deleted") == ["c"]


def test_an_inbox_that_was_used_before_a_fork_works_on_both_sides(
    broker: RabbitServer | RedisServer,
) -> None:
    with inbox_over(broker.url, "forked", timeout=20) as inbox:
        inbox.put(delivery(key="before"))
        assert in_child(lambda: inbox.put(delivery(key="child")))
        inbox.put(delivery(key="parent"))
    assert sorted(kept_in(broker.url, "forked")) == ["before", "child", "parent"]


# --- many machines -------------------------------------------------------------------------------


class Machines:
    """Web processes that share a socket, and workers; each can be killed and started anew."""

    def __init__(self, module: str, folder: Path, environment: dict[str, str]) -> None:
        self._module = module
        self._folder = folder
        self._environment = {**os.environ, **environment, "PYTHONUNBUFFERED": "1"}
        self._output = Path(environment["EFFECTS"]).with_name("output")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.webs: list[subprocess.Popen[bytes]] = []
        self.workers: list[subprocess.Popen[bytes]] = []

    def start_web(self) -> None:
        descriptor = self._listener.fileno()
        command = ["uvicorn", f"{self._module}:web", "--fd", str(descriptor)]
        self.webs.append(self._start(command, pass_fds=[descriptor]))

    def start_worker(self) -> None:
        ready = self.output.count(" ready.")
        options = ["-l", "info", "--concurrency", "2", "--without-gossip", "--without-mingle"]
        name = f"worker-{len(self.output)}@localhost"
        command = ["celery", "-A", self._module, "worker", "-Q", "karla", "-n", name, *options]
        self.workers.append(self._start(command))
        until(lambda: self.output.count(" ready.") > ready)

    def _start(self, command: list[str], pass_fds: Sequence[int] = ()) -> subprocess.Popen[bytes]:
        with self._output.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=self._folder,
                env=self._environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=pass_fds,
            )

    @property
    def output(self) -> str:
        return self._output.read_text() if self._output.exists() else ""

    def close(self) -> None:
        self._listener.close()
        for process in [*self.webs, *self.workers]:
            kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL, to all that the process has started too."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def machines(
    module: str, folder: Path, environment: dict[str, str], *, count: int = 2
) -> Generator[Machines]:
    running = Machines(module, folder, environment)
    watchdog = threading.Timer(400, running.close)
    watchdog.start()
    try:
        for _ in range(count):
            running.start_web()
            running.start_worker()
        yield running
    except BaseException:
        print(running.output)  # noqa: T201 - what pytest shows of a failure
        raise
    finally:
        watchdog.cancel()
        running.close()


def send(port: int, body: bytes, secret: str) -> int:
    """Send a delivery once; return the answer's status, 0 if there was none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("POST", "/webhooks/karla", body, {"Karla-Signature": sign(body, secret)})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def order(number: int) -> bytes:
    return samples.read("shipment_delivered").replace(b"NT-20417", b"NT-%d" % number)


def test_the_example_handles_each_order_once(
    rabbitmq: RabbitServer, redis: RedisServer, tmp_path: Path
) -> None:
    secret = "try-me-try-me-16"
    environment = {
        "KARLA_WEBHOOK_SECRET": secret,
        "BROKER_URL": rabbitmq.url,
        "REDIS_URL": redis.url,
        "EFFECTS": str(tmp_path / "effects"),
    }
    with machines("many_machines", ROOT / "examples", environment) as running:
        assert send(running.port, order(1), "another-secret-16") == 401
        numbers = list(range(100, 140))
        for number in numbers * 2:
            assert send(running.port, order(number), secret) == 200
        thanks = [f"order NT-{number}: thank the customer" for number in numbers]
        until(lambda: all(line in running.output for line in thanks))
        # Nothing is left in the queue that could be handled a second time.
        until(lambda: queue_length(rabbitmq.url) == 0)
        assert [running.output.count(line) for line in thanks] == [1] * 40


def queue_length(url: str) -> int:
    with Connection(url) as connection:
        queue: Any = Queue("karla")(connection.default_channel)
        length: int = queue.queue_declare().message_count
        return length


@pytest.mark.parametrize("kills_broker", [False, True], ids=["processes", "and broker"])
def test_whatever_is_killed_no_acknowledged_delivery_is_lost(
    rabbitmq: RabbitServer, redis: RedisServer, tmp_path: Path, kills_broker: bool
) -> None:
    effects = tmp_path / "effects"
    environment = {
        "BROKER_URL": rabbitmq.url,
        "REDIS_URL": redis.url,
        "EFFECTS": str(effects),
    }
    acknowledged: list[int] = []
    refused: Counter[int] = Counter()
    chance = random.Random(20417)  # noqa: S311 - where to strike
    numbers = itertools.count(2_000_000 if kills_broker else 1_000_000)
    stop = threading.Event()

    def sender() -> None:
        while not stop.wait(0.1):
            number = next(numbers)
            while (status := send(running.port, order(number), SECRET)) != 200:
                refused[status] += 1
                time.sleep(0.2)
            acknowledged.append(number)

    def await_more(count: int) -> None:
        until(partial(has, acknowledged, len(acknowledged) + count))

    with machines("tests.adapters.celery_shop", ROOT, environment) as running:
        senders = [threading.Thread(target=sender) for _ in range(4)]
        for thread in senders:
            thread.start()
        try:
            for strike in range(3):
                await_more(20)
                kill(running.workers.pop(chance.randrange(2)))
                running.start_worker()
                if strike == 1:
                    kill(running.webs.pop(chance.randrange(2)))
                    running.start_web()
                    redis.kill()
                    time.sleep(1)  # long enough for a delivery to find it gone
                    redis.start()
                    await_more(20)
                    if kills_broker:
                        rabbitmq.kill()
                        rabbitmq.start()
            await_more(20)
        finally:
            stop.set()
            for thread in senders:
                thread.join()
        wanted = {f"NT-{number}" for number in acknowledged}
        until(lambda: wanted <= set(lines(effects)))
        until(lambda: queue_length(rabbitmq.url) == 0)

    done = Counter(lines(effects))
    print(  # noqa: T201 - figures, shown by pytest -s
        f"acknowledged {len(acknowledged)}, refused at first {dict(refused)},"
        f" lost {len(wanted - set(done))}, doubled {sum(done.values()) - len(done)}"
    )
    assert set(done) == wanted
    assert set(refused) <= {0, 409, 503}
    assert refused[503]  # or nothing was hit


def has(numbers: list[int], count: int) -> bool:
    return len(numbers) >= count


def lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []
