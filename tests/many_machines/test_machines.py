"""Two web processes and two workers over real brokers: what is acknowledged is handled."""

from __future__ import annotations

import itertools
import os
import random
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from tests.many_machines.machines import (
    ROOT,
    has,
    kill,
    lines,
    machines,
    order,
    queue_length,
    send,
)
from tests.many_machines.rabbitmq_server import RabbitServer
from tests.many_machines.redis_server import RedisServer
from tests.signing import SECRET
from tests.waiting import PATIENCE_SECONDS, until

pytestmark = pytest.mark.slow

# More of them, as in `STRIKES=30 python -m pytest -s tests/many_machines`, take a while.
STRIKES = int(os.environ.get("STRIKES", "3"))


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


def test_whatever_is_killed_no_acknowledged_delivery_is_lost(
    rabbitmq: RabbitServer, redis: RedisServer, tmp_path: Path
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
    numbers = itertools.count(1_000_000)
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

    def await_refusal() -> None:
        before = refused[503]
        until(lambda: refused[503] > before, "a delivery finds Redis gone")

    with machines("tests.many_machines.shop", ROOT, environment) as running:
        senders = [threading.Thread(target=sender) for _ in range(4)]
        for thread in senders:
            thread.start()
        try:
            for strike in range(STRIKES):
                await_more(20)
                kill(running.workers.pop(chance.randrange(2)))
                running.start_worker()
                if strike == 1:
                    kill(running.webs.pop(chance.randrange(2)))
                    running.start_web()
                    redis.kill()
                    await_refusal()
                    redis.start()
                    await_more(20)
                    rabbitmq.kill()
                    rabbitmq.start()
            await_more(20)
        finally:
            stop.set()
            for thread in senders:
                thread.join()
        wanted = {f"NT-{number}" for number in acknowledged}
        until(lambda: wanted <= set(lines(effects)), seconds=3 * PATIENCE_SECONDS)
        until(lambda: queue_length(rabbitmq.url) == 0, seconds=3 * PATIENCE_SECONDS)

    done = Counter(lines(effects))
    print(  # noqa: T201 - figures, shown by pytest -s
        f"acknowledged {len(acknowledged)}, refused at first {dict(refused)},"
        f" lost {len(wanted - set(done))}, doubled {sum(done.values()) - len(done)}"
    )
    assert set(done) == wanted
    assert set(refused) <= {0, 409, 503}
    assert refused[503]  # or nothing was hit
