"""What a broker's word is worth: real ones, killed, paused, and robbed of their queues."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any

import pytest
from celery import Celery
from kombu import Connection, Queue

from karla_receiver import Receiver
from karla_receiver.adapters.celery import CeleryInbox
from karla_receiver.errors import StorageError
from tests.adapters.test_celery import delivery
from tests.idempotency.contract import in_child
from tests.many_machines.rabbitmq_server import RabbitServer
from tests.many_machines.redis_server import RedisServer, running_redis
from tests.signing import SECRET
from tests.waiting import PATIENCE_SECONDS, until

pytestmark = pytest.mark.slow


@pytest.fixture(params=["rabbitmq", "redis"])
def broker(request: pytest.FixtureRequest) -> RabbitServer | RedisServer:
    server: RabbitServer | RedisServer = request.getfixturevalue(request.param)
    return server


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
    with inbox_over(broker.url, "killed", timeout=PATIENCE_SECONDS) as inbox:
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
    with (
        running_redis() as server,
        inbox_over(server.url, "forgotten", timeout=PATIENCE_SECONDS) as inbox,
    ):
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
            for _ in range(3):
                with pytest.raises(StorageError):
                    inbox.put(delivery())
        until(lambda: is_put(inbox))
    assert len(kept_in(broker.url, "hung")) >= 2  # it may take up later what it was sent before


def is_put(inbox: CeleryInbox) -> bool:
    try:
        return inbox.put(delivery()) == "new"
    except StorageError:
        return False


def test_a_queue_that_is_gone_is_made_anew_before_anything_is_confirmed(
    rabbitmq: RabbitServer,
) -> None:
    with inbox_over(rabbitmq.url, "deleted", publishers=1, timeout=PATIENCE_SECONDS) as inbox:
        for key in "ab":
            inbox.put(delivery(key=key))
            with Connection(rabbitmq.url) as connection:
                Queue("deleted")(connection.default_channel).delete()
        inbox.put(delivery(key="c"))
    assert kept_in(rabbitmq.url, "deleted") == ["c"]


def test_an_inbox_that_was_used_before_a_fork_works_on_both_sides(
    broker: RabbitServer | RedisServer,
) -> None:
    with inbox_over(broker.url, "forked", timeout=PATIENCE_SECONDS) as inbox:
        inbox.put(delivery(key="before"))
        assert in_child(lambda: inbox.put(delivery(key="child")) == "new")
        inbox.put(delivery(key="parent"))
    assert sorted(kept_in(broker.url, "forked")) == ["before", "child", "parent"]
