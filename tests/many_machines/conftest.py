"""The brokers and the database, real ones."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.many_machines.postgresql_server import PostgreSQL, running_postgresql
from tests.many_machines.rabbitmq_server import RabbitServer, running_rabbitmq
from tests.many_machines.redis_server import RedisServer, running_redis


@pytest.fixture(scope="package")
def rabbitmq() -> Generator[RabbitServer]:
    """Start a RabbitMQ once for all of these tests, for it takes its time."""
    with running_rabbitmq() as server:
        yield server


@pytest.fixture(scope="package")
def redis() -> Generator[RedisServer]:
    """Start a Redis that writes everything down."""
    with running_redis(appendonly=True) as server:
        yield server


@pytest.fixture(scope="package")
def postgresql() -> Generator[PostgreSQL]:
    """Start a PostgreSQL."""
    with running_postgresql() as server:
        yield server
