"""The Redis store beyond the contract: what it refuses, what it keeps, what it survives."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from functools import partial
from traceback import TracebackException
from typing import Any, cast

import pytest
from redis import Redis, RedisCluster
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import RedisClusterException
from redis.sentinel import Sentinel

from karla_receiver import ConfigurationError
from karla_receiver.adapters.redis import RedisStore
from karla_receiver.errors import StorageError
from karla_receiver.idempotency import ClaimState
from tests.many_machines.redis_server import RedisServer, running_cluster, running_redis
from tests.ports import reserved_port
from tests.waiting import PATIENCE_SECONDS, until

# The client library compares the two; `python -bb` would make that an error.
pytestmark = pytest.mark.filterwarnings("ignore::BytesWarning:redis")

CLAIMED, IN_PROGRESS, DONE = ClaimState.CLAIMED, ClaimState.IN_PROGRESS, ClaimState.DONE

# Twice what is promised, and half of what the client's own defaults take.
SOON_SECONDS = 2
# For servers that hang, and no others: on a busy machine any server may take as long to answer.
HASTY = "socket_timeout=0.1&socket_connect_timeout=0.1"


@pytest.fixture(scope="module")
def server() -> Generator[RedisServer]:
    with running_redis() as running:
        yield running


@pytest.fixture(autouse=True)
def _empty(request: pytest.FixtureRequest) -> None:
    if "server" in request.fixturenames:
        server: RedisServer = request.getfixturevalue("server")
        with server.client() as client:
            client.flushall()


# --- set-up --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("http://:hush-hush@localhost", "starts with redis://"),
        ("localhost:6379", "starts with redis://"),
        ("redis://:hush-hush@localhost:port", "starts with redis://"),
        ("redis://:hush-hush@localhost?no_such_option=1", "redis.Redis.from_url takes"),
        (None, r"not builtins\.NoneType"),
        (b"redis://", r"not builtins\.bytes"),
        (cast("Any", Sentinel)([]), r"not redis\.sentinel\.Sentinel; .* take master_for"),
        (AsyncRedis(), "an asynchronous client is not needed"),
        (Redis(socket_timeout=None), "no socket_timeout"),
    ],
)
def test_a_server_that_cannot_be_used_is_refused(given: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        RedisStore(given)
    shown = TracebackException.from_exception(caught.value, capture_locals=True)
    assert "hush-hush" not in "".join(shown.format()).replace(repr(given), "")


def test_nothing_is_asked_before_the_first_claim() -> None:
    with reserved_port() as port:
        RedisStore(f"redis://127.0.0.1:{port}/0")


@pytest.mark.slow
def test_a_url_may_say_how_long_to_wait(server: RedisServer) -> None:
    store = RedisStore(server.patient_url)
    with server.paused():
        timer = threading.Timer(0.6, os.kill, (server.pid, signal.SIGCONT))
        timer.start()
        assert store.claim("a", "o").state is CLAIMED
        timer.join()


@pytest.mark.parametrize("decode_responses", [False, True])
def test_a_client_of_the_users_own_is_used_as_it_is(
    server: RedisServer, decode_responses: bool
) -> None:
    with Redis(
        port=server.port, socket_timeout=PATIENCE_SECONDS, decode_responses=decode_responses
    ) as client:
        store = RedisStore(client, prefix="mine")
        store.done("a", store.claim("a", "o").token)
        store.release("b", store.claim("b", "o").token)

        assert store.claim("a", "o").state is DONE
        assert all(name.startswith("mine:{default}:") for name in server.client().scan_iter())


# --- a cluster -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nodes() -> Generator[list[RedisServer]]:
    with running_cluster(3) as running:
        yield running


@pytest.fixture
def cluster(nodes: list[RedisServer]) -> Generator[RedisCluster]:
    client: RedisCluster = RedisCluster(
        host="127.0.0.1", port=nodes[0].port, socket_timeout=PATIENCE_SECONDS
    )
    yield client
    client.close()


@pytest.mark.slow
def test_a_cluster_keeps_the_keys_of_each_endpoint_together(
    nodes: list[RedisServer], cluster: RedisCluster
) -> None:
    for node in nodes:
        node.client().flushall()
    endpoints = [f"shop-{number}" for number in range(20)]  # with certainty at several nodes
    for endpoint in endpoints:
        store = RedisStore(cluster, endpoint=endpoint)
        token = store.claim("a", "o").token
        assert store.claim("a", "o").state is IN_PROGRESS
        assert asyncio.run(store.claim_async("b", "o")).is_near_duplicate
        store.done("a", token)
        assert store.claim("a", "o").state is DONE
    sizes = [node.client().dbsize() for node in nodes]
    assert sum(sizes) == 3 * len(endpoints)
    assert sum(size > 0 for size in sizes) > 1


@pytest.mark.slow
def test_a_url_of_one_of_its_nodes_is_told_in_words(nodes: list[RedisServer]) -> None:
    told: set[str] = set()
    for number in range(20):
        store = RedisStore(nodes[0].patient_url, endpoint=f"shop-{number}")
        try:
            store.claim("a", "o")
        except StorageError as error:
            told.add(str(error))
    assert told == {"Redis: this is a node of a cluster: give the store a redis.RedisCluster"}


def test_a_cluster_without_a_time_out_is_refused(nodes: list[RedisServer]) -> None:
    with (
        RedisCluster(host="127.0.0.1", port=nodes[0].port, socket_timeout=None) as client,
        pytest.raises(ConfigurationError, match="no socket_timeout"),
    ):
        RedisStore(client)


def test_a_cluster_that_is_down_is_a_storage_error(cluster: RedisCluster) -> None:
    store = RedisStore(cluster)

    def fail(*_: object, **__: object) -> None:
        raise RedisClusterException("no node answers")

    setattr(cluster, "execute_command", fail)  # noqa: B010
    with pytest.raises(StorageError, match="RedisClusterException: no node answers"):
        store.claim("a", "o")


# --- what Redis holds ----------------------------------------------------------------------------


def test_redis_holds_neither_what_happened_nor_anything_for_ever(server: RedisServer) -> None:
    store = RedisStore(server.patient_url, window=1000, lease=100)
    claim = store.claim("a", "order of mira@example.com")
    store.done("b", store.claim("b", "order of mira@example.com").token)

    with server.client() as client:
        kept = {name: client.get(name) for name in client.scan_iter()}
        lives = {name: client.ttl(name) for name in kept}
    happened = next(name for name in kept if ":occurrence:" in name)
    assert kept == {
        "karla:{default}:key:a": f"by {claim.token}",
        "karla:{default}:key:b": "done",
        happened: "a",
    }
    assert "mira" not in happened
    assert 0 < lives["karla:{default}:key:a"] <= 100
    assert 900 < lives["karla:{default}:key:b"] <= 1000
    assert 900 < lives[happened] <= 1000


def test_each_verb_is_one_round_trip(server: RedisServer) -> None:
    class Counting(Redis):
        trips = 0

        def execute_command(self, *args: Any, **options: Any) -> Any:
            self.trips += 1
            answer: Any = cast("Any", super()).execute_command(*args, **options)
            return answer

    with Counting(port=server.port, socket_timeout=PATIENCE_SECONDS) as client:
        store = RedisStore(client)
        store.release("a", store.claim("a", "o").token)
        store.done("a", store.claim("a", "o").token)  # by now Redis knows the scripts
        client.trips = 0
        for verb in (store.release, store.done):
            verb("b", store.claim("b", "o").token)
        store.claim("b", "o")
        assert client.trips == 5


def test_scripts_that_redis_has_forgotten_are_sent_again(server: RedisServer) -> None:
    store = RedisStore(server.patient_url)
    for verb in (store.release, store.done):
        claim = store.claim("a", "o")
        server.client().script_flush()
        verb("a", claim.token)
        server.client().script_flush()
    assert store.claim("a", "o").state is DONE


# --- faults --------------------------------------------------------------------------------------


def refusal(call: Callable[[], object]) -> str:
    """Return why call raised StorageError."""
    with pytest.raises(StorageError) as caught:
        call()
    return str(caught.value)


def check_refusals(store: RedisStore, why: str) -> None:
    """Check that every verb raises StorageError for that reason, and the quickest of them soon.

    A busy machine may hold up one of them.
    """
    seconds: list[float] = []
    for verb in every_verb(store):
        start = time.monotonic()
        assert why in refusal(verb)
        seconds.append(time.monotonic() - start)
    assert min(seconds) < SOON_SECONDS


def every_verb(store: RedisStore) -> list[Callable[[], object]]:
    return [
        lambda: store.claim("a", "o"),
        lambda: store.done("a", "token"),
        lambda: store.release("a", "token"),
    ]


def test_a_redis_that_is_down_is_a_storage_error_at_once() -> None:
    with reserved_port() as port:
        check_refusals(RedisStore(f"redis://127.0.0.1:{port}/0"), "ConnectionError")


def is_answered(store: RedisStore) -> bool:
    with contextlib.suppress(StorageError):
        return bool(store.claim("z", "o"))
    return False


def is_claimable(store: RedisStore) -> bool:
    return store.claim("a", "o").state is CLAIMED


@pytest.mark.slow
@pytest.mark.parametrize("has_connection", [True, False])
def test_a_redis_that_hangs_is_a_storage_error_soon_and_no_claim_for_ever(
    server: RedisServer, *, has_connection: bool
) -> None:
    store = RedisStore(f"{server.url}?{HASTY}", lease=1)
    if has_connection:
        until(partial(is_answered, store))
    with server.paused():
        check_refusals(store, "TimeoutError")
    # Redis may carry out what it was asked when nobody waited any more.
    until(partial(is_claimable, RedisStore(server.patient_url)))


@pytest.mark.slow
def test_a_listener_that_never_answers_is_a_storage_error_soon() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = RedisStore(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        check_refusals(store, "TimeoutError")


def test_a_redis_that_refuses_is_a_storage_error(server: RedisServer) -> None:
    with server.client() as client:
        store = RedisStore(server.patient_url)
        client.config_set("maxmemory", "1")
        try:
            assert "OutOfMemoryError" in refusal(lambda: store.claim("a", "o"))
        finally:
            client.config_set("maxmemory", "0")
        client.config_set("requirepass", "hush-hush")
        try:
            wrong = RedisStore(server.patient_url.replace("//", "//:another-hush@"))
            assert "hush" not in refusal(lambda: wrong.claim("a", "o"))
        finally:
            client.config_set("requirepass", "")
        assert store.claim("a", "o").state is CLAIMED


def test_a_connection_that_died_while_idle_is_replaced(server: RedisServer) -> None:
    store = RedisStore(server.patient_url)
    for verb in every_verb(store):
        store.claim("z", "o")
        server.client().client_kill_filter(_type="normal", skipme=True)
        verb()  # does not raise


class DroppingProxy:
    """Stands before a Redis; hands on each command and, when told to, swallows the answer."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        port, seconds = self._listener.getsockname()[1], f"{PATIENCE_SECONDS:g}"
        timeouts = f"socket_timeout={seconds}&socket_connect_timeout={seconds}"
        self.url = f"redis://127.0.0.1:{port}/0?{timeouts}"
        self.drops = 0
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                near, _ = self._listener.accept()
                self._connections.append(near)
                thread = threading.Thread(target=self._serve, args=(near,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, near: socket.socket) -> None:
        with near, socket.create_connection(self._target) as far:
            while command := near.recv(65_536):
                far.sendall(command)
                answer = far.recv(65_536)
                if b"EVALSHA" in command and self.drops:
                    self.drops -= 1
                    return
                near.sendall(answer)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for near in self._connections:
            with contextlib.suppress(OSError):  # gone already
                near.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()


def test_a_claim_whose_answer_is_lost_is_still_ones_own(server: RedisServer) -> None:
    proxy = DroppingProxy(server.port)
    store = RedisStore(proxy.url)
    try:
        for number in range(50):
            key = str(number)
            proxy.drops = 1
            claim = store.claim(key, key)
            assert claim.state is CLAIMED
            assert not claim.is_near_duplicate
            proxy.drops = 1
            (store.done if number % 2 else store.release)(key, claim.token)
            assert proxy.drops == 0
            assert store.claim(key, key).state is (DONE if number % 2 else CLAIMED)
        proxy.drops = 2
        assert "ConnectionError" in refusal(lambda: store.claim("a", "o"))
    finally:
        proxy.close()


@pytest.mark.slow
@pytest.mark.parametrize("appendonly", [True, False], ids=["AOF", "no persistence"])
def test_a_killed_redis_remembers_what_it_has_written_down(appendonly: bool) -> None:
    with running_redis(appendonly=appendonly) as server:
        store = RedisStore(server.patient_url)
        kept = 0
        for cycle in range(3):
            done = [f"{cycle}-{number}" for number in range(30)]
            for key in done:
                store.done(key, store.claim(key, key).token)
            held = store.claim(f"{cycle}-held", "o")
            server.kill()
            check_refusals(store, "ConnectionError")
            server.start()
            kept += sum(store.claim(key, key).state is DONE for key in done)
            # What was being handled meanwhile can be marked as done, forgotten or not.
            store.done(f"{cycle}-held", held.token)
            assert store.claim(f"{cycle}-held", "o").state is DONE
        assert kept == (90 if appendonly else 0)


CLAIM_AND_HANG = """
import signal, sys
from karla_receiver.adapters.redis import RedisStore
print(RedisStore(sys.argv[1], lease=100).claim("a", "o").state, flush=True)
signal.pause()
"""


@pytest.mark.slow
def test_the_claim_of_an_owner_that_was_killed_expires(server: RedisServer) -> None:
    store = RedisStore(server.patient_url)
    command = [sys.executable, "-c", CLAIM_AND_HANG, server.patient_url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == f"{CLAIMED}\n"
        owner.kill()
    assert store.claim("a", "o").state is IN_PROGRESS
    with server.client() as client:
        name = "karla:{default}:key:a"
        assert 0 < cast("Any", client).pttl(name) <= 100_000
        client.pexpire(name, 1)  # as if the lease had gone by
    until(partial(is_claimable, store))
