from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from karla_receiver import ConfigurationError, Event, Receiver, idempotency
from karla_receiver import inbox as inbox_package
from karla_receiver.errors import StorageError
from karla_receiver.idempotency import Claim, ClaimState, IdempotencyStore, SQLiteStore
from karla_receiver.inbox import SQLiteInbox
from tests.inbox.stock import delivery, query
from tests.inbox.test_put import run_forks
from tests.signing import SECRET, signed

CLAIMED, IN_PROGRESS, DONE = ClaimState.CLAIMED, ClaimState.IN_PROGRESS, ClaimState.DONE
HOUR = 3600.0

Opened = Callable[..., SQLiteStore]


class Clocks:
    """The time of day, which may jump, and the time since the start, which may not."""

    def __init__(self) -> None:
        self.now = 1_000_000_000.0
        self.elapsed = 50_000.0

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.elapsed += seconds


@pytest.fixture(name="clocks")
def _clocks() -> Clocks:
    return Clocks()


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "karla.db"


@pytest.fixture(name="opened")
def _opened(path: Path, clocks: Clocks) -> Iterator[Opened]:
    made: list[SQLiteStore] = []

    def make(**options: Any) -> SQLiteStore:
        usual: dict[str, Any] = {
            "clock": lambda: clocks.now,
            "monotonic": lambda: clocks.elapsed,
            "window": 6000,
            "lease": 60,
        }
        made.append(SQLiteStore(path, **(usual | options)))
        return made[-1]

    yield make
    for store in made:
        store.close()


def claimed(store: SQLiteStore, key: str = "a", occurrence: str = "o") -> str:
    claim = store.claim(key, occurrence)
    assert claim.state is CLAIMED
    assert claim.token
    return claim.token


def test_claim_done_and_the_window(opened: Opened, clocks: Clocks) -> None:
    store: IdempotencyStore = opened()
    assert store.key is None
    assert store.blocks
    store = opened()
    token = claimed(store)
    assert store.claim("a", "o") == Claim(IN_PROGRESS)
    clocks.wait(30)
    store.done("a", token)
    assert opened().claim("a", "o") == Claim(DONE)
    clocks.wait(5999)
    assert store.claim("a", "o") == Claim(DONE)
    clocks.wait(2)
    claimed(store)


def test_what_is_released_can_be_claimed_at_once(opened: Opened) -> None:
    store = opened()
    token = claimed(store)
    store.release("a", token)
    store.done("a", token)  # too late
    assert claimed(store) != token


@pytest.mark.parametrize("verb", ["done", "release"])
def test_an_owner_whose_claim_lapsed_and_was_taken_changes_nothing(
    opened: Opened, clocks: Clocks, verb: str
) -> None:
    store = opened()
    token = claimed(store)
    clocks.wait(59)
    assert store.claim("a", "o").state is IN_PROGRESS
    clocks.wait(2)
    claimed(store)
    getattr(store, verb)("a", token)
    assert store.claim("a", "o").state is IN_PROGRESS


@pytest.mark.parametrize("jump", [HOUR, -HOUR, -1e9])
def test_a_clock_that_jumps_forgets_nothing_and_ends_no_lease(
    opened: Opened, clocks: Clocks, jump: float
) -> None:
    store = opened(window=2 * HOUR)
    store.done("before", claimed(store, "before"))
    claimed(store, "under way")
    clocks.now += jump
    assert store.claim("before", "o").state is DONE
    assert store.claim("under way", "o").state is IN_PROGRESS
    store.done("during", claimed(store, "during"))
    clocks.now -= jump
    for key in ("before", "during"):
        if jump != -1e9 or key == "before":
            assert store.claim(key, "o").state is DONE
    assert store.claim("under way", "o").state is IN_PROGRESS
    clocks.wait(61)
    claimed(store, "under way")


def test_a_claim_of_before_the_machine_was_started_anew_has_lapsed(
    opened: Opened, clocks: Clocks
) -> None:
    store = opened()
    claimed(store)
    clocks.elapsed = 5.0
    claimed(store)


def test_a_near_duplicate_is_told(opened: Opened, clocks: Clocks) -> None:
    store = opened()
    store.release("a", claimed(store))
    assert not store.claim("a", "o").is_near_duplicate
    assert store.claim("b", "o").is_near_duplicate
    assert not store.claim("c", "another").is_near_duplicate
    assert not opened(endpoint="elsewhere").claim("b", "o").is_near_duplicate
    clocks.wait(6001)
    assert not store.claim("d", "o").is_near_duplicate


def test_what_is_over_is_deleted(opened: Opened, clocks: Clocks, path: Path) -> None:
    store = opened()
    for number in range(50):
        store.done(str(number), claimed(store, str(number)))
    clocks.wait(6001)
    for number in range(100, 104):
        claimed(store, str(number))
    assert query(path, "SELECT count(*) FROM karla_claims") == [(4,)]


def test_of_many_threads_one_gets_each_key(opened: Opened) -> None:
    store = opened()
    barrier = threading.Barrier(32)

    def claim(number: int) -> list[ClaimState]:
        barrier.wait()
        return [store.claim(str(key), "").state for key in range(20)]

    with ThreadPoolExecutor(32) as pool:
        states = [state for found in pool.map(claim, range(32)) for state in found]
    assert states.count(CLAIMED) == 20
    assert states.count(IN_PROGRESS) == 31 * 20


def test_a_store_in_use_may_be_forked(opened: Opened) -> None:
    store = opened()
    store.done("a", claimed(store, "a"))

    def use() -> None:
        assert store.claim("a", "o").state is DONE
        store.done("b", claimed(store, "b"))

    run_forks((use,))
    assert store.claim("b", "o").state is DONE


def test_it_shares_the_file_with_an_inbox(opened: Opened, path: Path) -> None:
    inbox = SQLiteInbox(path)
    receiver = Receiver(SECRET, idempotency=opened(), inbox=inbox)
    body = b'{"event_group":"x"}'
    request = signed(body)
    assert [receiver.receive(request).status for _ in range(3)] == [200] * 3
    assert inbox.put(delivery(query(path, "SELECT key FROM karla_inbox")[0][0])) == "duplicate"
    inbox.close()


def test_a_lost_file_is_told_and_then_made_anew(opened: Opened, path: Path) -> None:
    store = opened()
    claimed(store)
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink()
    with pytest.raises(StorageError, match="deleted or replaced"):
        store.claim("b", "o")
    claimed(store)


def test_it_names_itself_and_its_key(opened: Opened, path: Path) -> None:
    def choose(event: Event) -> str:
        return event.event_group

    assert opened(key=choose).key is choose
    assert repr(opened()) == f"<SQLiteStore {str(path)!a} endpoint='default'>"


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"window": 599.9}, "captured delivery can be sent again, not 599.9"),
    ({"window": True}, "600 or more"),
    ({"lease": 0.9}, "slowest handler takes, not 0.9"),
    ({"lease": 6001}, "1 to the window"),
    ({"endpoint": "a:b"}, "1 to 64 letters"),
    ({"key": "body"}, "key is a function that takes an event"),
    ({"clock": 1}, "clock must be a function that returns unix seconds"),
    ({"clock": lambda: None}, "clock must return unix seconds as a number"),
    ({"monotonic": 1}, "monotonic must be a function that returns seconds"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_an_option_that_cannot_work_is_refused(
    opened: Opened, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        opened(**options)
    assert message in str(refused.value)


def test_the_packages_have_nothing_else() -> None:
    for package in (idempotency, inbox_package):
        with pytest.raises(AttributeError, match="has no attribute 'PostgresStore'"):
            _ = package.PostgresStore
