from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from karla_receiver import ConfigurationError
from karla_receiver.errors import StorageError
from karla_receiver.idempotency import ClaimState, MemoryStore
from tests.idempotency.contract import in_child
from tests.waiting import PATIENCE_SECONDS

CLAIMED, IN_PROGRESS, DONE = ClaimState.CLAIMED, ClaimState.IN_PROGRESS, ClaimState.DONE

HOUR = 3600


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def handled(store: MemoryStore, *keys: str) -> None:
    for key in keys:
        store.done(key, store.claim(key, key).token)


def states(store: MemoryStore, *keys: str) -> list[ClaimState]:
    return [store.claim(key, key).state for key in keys]


# --- room ----------------------------------------------------------------------------------------


def test_a_full_store_forgets_what_was_handled_longest_ago_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    store = MemoryStore(endpoint="shop-1", max_keys=3, clock=clock)
    handled(store, "a", "b", "c")
    clock.now += 7
    assert not caplog.records
    handled(store, "d")

    assert states(store, "b", "c", "d") == [DONE] * 3
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "MemoryStore shop-1 is full: it forgets deliveries after 7 s" in caplog.text
    assert store.claim("a", "a").state is CLAIMED


def test_a_full_store_does_not_flood_the_log(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore(max_keys=10)
    handled(store, *map(str, range(10 + 25)))

    assert len(caplog.records) == 3


def test_what_has_expired_makes_room_first(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    store = MemoryStore(max_keys=3, lease=60, window=600, clock=clock)
    handled(store, "a")
    clock.now += 300
    handled(store, "b")
    store.claim("abandoned", "")
    clock.now += 301  # "a" is past its window now, and the claim past its lease
    handled(store, "c", "d")

    assert states(store, "b", "c", "d") == [DONE] * 3
    assert not caplog.records


def test_a_claim_in_progress_is_never_forgotten() -> None:
    clock = Clock()
    store = MemoryStore(max_keys=3, clock=clock)
    handled(store, "done before")
    tokens = {key: store.claim(key, key).token for key in "abc"}

    with pytest.raises(StorageError, match="all 3 deliveries that fit in are in progress"):
        store.claim("d", "d")
    assert states(store, *"abc") == [IN_PROGRESS] * 3
    store.done("a", tokens["a"])
    assert store.claim("d", "d").state is CLAIMED
    assert states(store, *"bcd") == [IN_PROGRESS] * 3


def test_a_late_owner_gets_no_room_that_there_is_not() -> None:
    clock = Clock()
    store = MemoryStore(max_keys=1, lease=60, clock=clock)
    late = store.claim("a", "a").token
    clock.now += 61
    store.claim("b", "b")

    with pytest.raises(StorageError):
        store.done("a", late)


def test_occurrences_are_bounded_too() -> None:
    store = MemoryStore(max_keys=3)
    for number, occurrence in enumerate(["first", "b", "c", "d"]):
        store.release(str(number), store.claim(str(number), occurrence).token)

    assert store.claim("again", "d").is_near_duplicate
    assert not store.claim("once more", "first").is_near_duplicate


@pytest.mark.parametrize("max_keys", [0, -1, 1.5, True, "100", None])
def test_a_number_of_keys_that_is_none_is_refused(max_keys: Any) -> None:
    with pytest.raises(ConfigurationError, match="max_keys is a whole number, 1 or more"):
        MemoryStore(max_keys=max_keys)


# --- time ----------------------------------------------------------------------------------------


def test_a_clock_that_jumps_back_makes_nothing_old_or_young() -> None:
    clock = Clock()
    store = MemoryStore(window=600, lease=60, clock=clock)
    handled(store, "a")
    store.claim("b", "b")
    clock.now -= HOUR

    assert states(store, "a", "b") == [DONE, IN_PROGRESS]
    handled(store, "c")
    clock.now += HOUR + 599
    assert states(store, "a", "c", "b") == [DONE, DONE, CLAIMED]
    clock.now += 1
    assert states(store, "a", "c") == [CLAIMED, CLAIMED]


def test_a_clock_that_jumps_ahead_and_back_keeps_what_the_window_is_longer_than() -> None:
    clock = Clock()
    store = MemoryStore(clock=clock)
    handled(store, "a")
    for jump in [HOUR, -HOUR] * 3:
        clock.now += jump
        assert states(store, "a") == [DONE]


def test_by_default_the_systems_clock_takes_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    store.claim("a", "a")
    monkeypatch.setattr("time.time", lambda: 1e12)

    assert states(store, "a") == [IN_PROGRESS]


# --- fork ----------------------------------------------------------------------------------------


def test_a_child_says_that_its_memory_is_its_own(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore(endpoint="shop-1")
    MemoryStore()  # gone again: a store does not live on for the sake of forks

    def child() -> bool:
        caplog.clear()
        handled(store, "a", "b")
        (record,) = caplog.records
        return record.levelno == logging.WARNING and "each process has its own" in caplog.text

    assert in_child(child)
    handled(store, "a")
    assert not caplog.records


SEVERAL: dict[str, tuple[list[str], dict[str, str]]] = {
    "gunicorn": (["/venv/bin/gunicorn", "-w", "4", "shop:app"], {}),
    "gunicorn in one word": (["gunicorn", "-w4", "shop:app"], {}),
    "gunicorn, the last one counts": (["gunicorn", "-w", "1", "--workers=4"], {}),
    "gunicorn by its variable": (["gunicorn", "shop:app"], {"GUNICORN_CMD_ARGS": "--workers 4"}),
    "uvicorn": (["/venv/bin/uvicorn", "shop:app", "--workers", "4"], {}),
    "uvicorn as a module": (["/venv/uvicorn/__main__.py", "shop:app", "--workers=4"], {}),
    "uvicorn on Windows": (["uvicorn.exe", "--workers=4"], {}),
    "uvicorn by the environment": (["uvicorn", "shop:app"], {"WEB_CONCURRENCY": "4"}),
    "hypercorn": (["hypercorn", "-w", "4", "shop:app"], {}),
}
SINGLE: dict[str, tuple[list[str], dict[str, str]]] = {
    "uvicorn": (["uvicorn", "shop:app", "--ws", "auto"], {}),
    "uvicorn with one": (["uvicorn", "--workers", "1"], {"WEB_CONCURRENCY": "4"}),
    "a variable that is no number": (["uvicorn"], {"WEB_CONCURRENCY": "many"}),
    "a script": (["manage.py", "-w", "4"], {"WEB_CONCURRENCY": "4"}),
    "no program": ([""], {}),
}


@pytest.mark.parametrize(
    ("command", "variables", "is_warned"),
    [(*each, True) for each in SEVERAL.values()] + [(*each, False) for each in SINGLE.values()],
    ids=[*SEVERAL, *(f"one process: {name}" for name in SINGLE)],
)
def test_a_server_of_several_processes_is_warned_of_once(
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
    variables: dict[str, str],
    is_warned: bool,
) -> None:
    for name in ("WEB_CONCURRENCY", "GUNICORN_CMD_ARGS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", command)
    handled(MemoryStore(endpoint="shop-1"), "a", "b")
    messages = [record.getMessage() for record in caplog.records]
    assert [each.split(":")[0] for each in messages] == [
        "MemoryStore shop-1 is one of 4, one in each process of this server"
    ] * is_warned


@pytest.mark.parametrize("processes", [1, 4])
def test_uwsgi_says_how_many_processes_it_has(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    monkeypatch.setitem(sys.modules, "uwsgi", SimpleNamespace(numproc=processes))
    handled(MemoryStore(), "a")
    assert ("is one of 4" in caplog.text) is (processes == 4)


def test_a_fork_while_a_thread_is_inside_leaves_the_child_a_store_that_works() -> None:
    inside, leave = threading.Event(), threading.Event()

    def clock(wait: Callable[..., object] = leave.wait) -> float:
        if threading.current_thread().name == "slow":
            inside.set()
            wait(PATIENCE_SECONDS)
        return 0.0

    store = MemoryStore(clock=clock)
    slow = threading.Thread(target=store.claim, args=("a", "a"), name="slow")
    slow.start()
    try:
        assert inside.wait(PATIENCE_SECONDS)
        assert in_child(lambda: states(store, "a") == [CLAIMED])
    finally:
        leave.set()
        slow.join()
    assert states(store, "a") == [IN_PROGRESS]
