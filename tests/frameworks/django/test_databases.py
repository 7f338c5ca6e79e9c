"""Connections and transactions around the handlers, with databases in files."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import connections, transaction
from django.test import AsyncClient, Client

from karla_receiver import Event, Receiver, parse_event
from karla_receiver.adapters.django import (
    endpoint,
    manage_connections,
    receiver_from_settings,
    webhook,
)
from tests.doors import PATH
from tests.frameworks.django import nothing, routed
from tests.signing import BODY, SECRET, signature_header, signed

EVENT = parse_event(BODY)


@pytest.fixture(autouse=True)
def kept(tmp_path: Path) -> Generator[None]:
    """Add a database in a file: Django never closes one in memory."""
    default = connections.settings["default"]
    connections.settings["kept"] = {**default, "NAME": tmp_path / "shop.db"}
    with connections["kept"].cursor() as cursor:
        cursor.execute("CREATE TABLE orders (number)")
    yield
    connections["kept"].close()
    del connections["kept"], connections.settings["kept"]


def insert() -> None:
    with connections["kept"].cursor() as cursor:
        cursor.execute("INSERT INTO orders VALUES (1)")


def count() -> int:
    with connections["kept"].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM orders")
        (rows,) = cursor.fetchone()
        return int(rows)


def is_open() -> bool:
    return connections["kept"].connection is not None


def in_thread(function: Callable[[], object]) -> None:
    """Call function in a thread, as a worker does."""
    raised: list[BaseException] = []

    def call() -> None:
        try:
            function()
        except BaseException as error:  # noqa: BLE001 - raised below
            raised.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    for error in raised:
        raise error


MADE: dict[str, Callable[[], Receiver]] = {}


def _made(make: Callable[[], Receiver]) -> Callable[[], Receiver]:
    MADE[make.__name__.strip("_")] = make
    return make


@_made
def _mounted() -> Receiver:
    receiver = Receiver(SECRET)
    endpoint(receiver)
    return receiver


@_made
def _of_a_view() -> Receiver:
    receiver = Receiver(SECRET)
    webhook(receiver)(nothing)
    return receiver


@_made
def _of_the_settings() -> Receiver:
    return receiver_from_settings()


@_made
def _told() -> Receiver:
    receiver = Receiver(SECRET)
    manage_connections(receiver)
    return receiver


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_a_worker_leaves_no_connection_open_between_two_handlers(
    make: Callable[[], Receiver],
) -> None:
    receiver = make()
    opened: list[bool] = []

    @receiver.on("*")
    def use(event: Event) -> None:
        opened.append(is_open())
        insert()
        opened.append(is_open())

    def work() -> None:
        insert()  # what was left open before is closed too
        for _ in range(2):
            receiver.handlers.handle(EVENT)
            opened.append(is_open())

    in_thread(work)
    assert opened == [False, True, False] * 2


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_an_async_handler_of_a_worker_has_connections_of_its_own(
    make: Callable[[], Receiver],
) -> None:
    receiver = make()
    used: list[Any] = []

    def use() -> None:
        insert()
        used.append(connections["kept"].connection)

    @receiver.on("*")
    async def handle(event: Event) -> None:
        await sync_to_async(use)()
        await sync_to_async(use)()

    def work() -> None:
        receiver.handlers.handle(EVENT)
        receiver.handlers.handle(EVENT)

    in_thread(work)
    first, again, second, second_again = used
    assert first is again
    assert second is second_again
    assert first is not second
    for connection in (first, second):
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection.execute("SELECT 1")
    assert count() == 4


def test_async_handlers_at_the_same_time_do_not_share_a_connection() -> None:
    receiver = Receiver(SECRET)
    manage_connections(receiver)
    threads: list[int] = []
    both = asyncio.Barrier(2)

    @receiver.on("*")
    async def handle(event: Event) -> None:
        threads.append(await sync_to_async(threading.get_ident)())
        await both.wait()
        await sync_to_async(insert)()

    async def deliver_twice() -> list[int]:
        answers = await asyncio.gather(*(receiver.receive_async(signed()) for _ in range(2)))
        return [answer.status for answer in answers]

    assert asyncio.run(deliver_twice()) == [200, 200]
    assert len(set(threads)) == 2


def posted(client: Any) -> int:
    answer = client.post(PATH, BODY, content_type="application/json", headers=signature_header())
    return int(answer.status_code)


async def posted_async(client: Any) -> int:
    answer = await client.post(
        PATH, BODY, content_type="application/json", headers=signature_header()
    )
    return int(answer.status_code)


def test_a_request_of_a_test_keeps_the_connection_and_the_transaction_of_the_test() -> None:
    receiver = Receiver(SECRET)
    rows: list[int] = []

    @receiver.on("*")
    def handle(event: Event) -> None:
        insert()
        rows.append(count())

    with routed(endpoint(receiver)):
        for surrounding in (nothing_around, transaction.atomic):
            with surrounding(using="kept"):
                insert()
                before = connections["kept"].connection
                assert posted(Client(raise_request_exception=False)) == 200
                assert connections["kept"].connection is before
    assert rows == [2, 4]


@contextmanager
def nothing_around(using: str) -> Generator[None]:
    yield


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_under_asgi_a_handler_uses_the_requests_connection(is_async: bool) -> None:
    receiver = Receiver(SECRET)
    used: list[Any] = []

    def use(event: Event) -> None:
        insert()
        used.append(connections["kept"].connection)

    async def use_async(event: Event) -> None:
        await sync_to_async(use)(event)

    receiver.on("*")(use_async if is_async else use)

    async def request() -> None:
        assert await posted_async(AsyncClient()) == 200
        used.append(await sync_to_async(lambda: connections["kept"].connection)())

    with routed(endpoint(receiver)):
        async_to_sync(request)()
    first, last = used
    assert first is last
    assert first is not None


def test_what_the_user_has_put_around_is_within() -> None:
    receiver = Receiver(SECRET)
    receiver.around(lambda event: transaction.atomic(using="kept"))
    endpoint(receiver)
    opened: list[bool] = []

    @receiver.on("*")
    def handle(event: Event) -> None:
        insert()
        opened.append(connections["kept"].in_atomic_block)

    def work() -> None:
        receiver.handlers.handle(EVENT)
        opened.append(is_open())

    in_thread(work)
    assert opened == [True, False], "closed, and not in the transaction, where Django would not"


@pytest.fixture
def atomic_requests() -> Generator[None]:
    aliases = ("default", "kept")
    for alias in aliases:
        connections.settings[alias]["ATOMIC_REQUESTS"] = True
    yield
    for alias in aliases:
        connections.settings[alias]["ATOMIC_REQUESTS"] = False


@pytest.mark.usefixtures("atomic_requests")
def test_atomic_requests_holds_for_each_database_and_not_in_a_worker() -> None:
    receiver = Receiver(SECRET)
    states: list[list[bool]] = []

    @receiver.on("*")
    def handle(event: Event) -> None:
        states.append([connections[alias].in_atomic_block for alias in ("default", "kept")])

    with routed(endpoint(receiver)):
        assert posted(Client()) == 200
    in_thread(lambda: receiver.handlers.handle(EVENT))
    assert states == [[True, True], [False, False]]


@pytest.mark.usefixtures("atomic_requests")
def test_a_transaction_that_cannot_begin_is_the_handlers_failure_and_none_stays_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError("no database")

    receiver = Receiver(SECRET)
    receiver.on("*")(lambda event: None)
    monkeypatch.setattr(type(connections["kept"]), "savepoint", fail)
    with routed(endpoint(receiver)), transaction.atomic(using="kept"):
        assert posted(Client()) == 500
    assert not connections["default"].in_atomic_block
