"""A user's tests may set the time with freezegun or time-machine, after the receiver was made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import time_machine
from freezegun import freeze_time

from karla_receiver import Reason, Receiver, SignatureError, Verifier, sign
from karla_receiver.idempotency import ClaimState, MemoryStore, SQLiteStore
from karla_receiver.inbox import SQLiteInbox
from karla_receiver.inbox.operations import Operations, Selection
from karla_receiver.registration.responses import APIResponse
from tests.signing import BODY, NOW, SECRET, signed

At: TypeAlias = Callable[[float], AbstractContextManager[Any]]


def frozen(moment: float) -> AbstractContextManager[Any]:
    return freeze_time(datetime.fromtimestamp(moment, UTC))


def travelled(moment: float) -> AbstractContextManager[Any]:
    return time_machine.travel(moment, tick=False)


@pytest.fixture(name="at", params=[frozen, travelled])
def _at(request: pytest.FixtureRequest) -> At:
    tool: At = request.param
    return tool


HEADER = sign(BODY, SECRET, timestamp=NOW)


@pytest.mark.parametrize("header", [HEADER, f"{HEADER},v1={'0' * 64}"], ids=["usual", "long way"])
def test_a_verifier_goes_by_the_time_that_a_test_sets(at: At, header: str) -> None:
    verifier = Verifier(SECRET)
    with at(NOW + 300):
        assert verifier.verify(BODY, header).timestamp == NOW
    with at(NOW + 301), pytest.raises(SignatureError) as refusal:
        verifier.verify(BODY, header)
    assert (refusal.value.reason, refusal.value.clock_skew) == (Reason.TIMESTAMP_TOO_OLD, 301)
    with at(NOW), pytest.raises(SignatureError) as refusal:
        verifier.verify(b"another", header)
    assert refusal.value.clock_skew == 0


def test_a_receiver_goes_by_the_time_that_a_test_sets(at: At) -> None:
    receiver = Receiver(SECRET)
    receiver.on("*")(lambda event: None)
    for moment, status in ((NOW - 300, 200), (NOW + 301, 401), (NOW, 200)):
        with at(moment):
            assert receiver.receive(signed(timestamp=NOW)).status == status
            assert receiver.receive(signed()).status == 200  # `sign` goes by it as well


@pytest.fixture(name="store", params=["memory", "sqlite"])
def _store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    if request.param == "memory":
        yield MemoryStore(window=600)
    else:
        store = SQLiteStore(tmp_path / "karla.db", window=600)
        yield store
        store.close()


def test_a_store_forgets_by_the_time_that_a_test_sets(store: Any) -> None:
    with frozen(NOW) as clock:
        claim = store.claim("key", "occurrence")
        store.done("key", claim.token)
        clock.tick(599)
        assert store.claim("key", "occurrence").state == ClaimState.DONE
        clock.tick(2)
        assert store.claim("key", "occurrence").state == ClaimState.CLAIMED


def test_a_file_forgets_by_the_time_that_a_traveller_sets(tmp_path: Path) -> None:
    """Of the two tools only the other one sets the monotonic clock too, by which memory forgets."""
    store = SQLiteStore(tmp_path / "karla.db", window=600)
    with time_machine.travel(NOW, tick=False) as clock:
        store.done("key", store.claim("key", "occurrence").token)
        clock.shift(599)
        assert store.claim("key", "occurrence").state == ClaimState.DONE
        clock.shift(2)
        assert store.claim("key", "occurrence").state == ClaimState.CLAIMED
    store.close()


def test_an_inbox_keeps_the_time_that_a_test_sets(at: At, tmp_path: Path) -> None:
    inbox = SQLiteInbox(tmp_path / "karla.db")
    receiver = Receiver(SECRET, inbox=inbox)
    receiver.on("*")(lambda event: None)
    with at(NOW):
        assert receiver.receive(signed(timestamp=NOW)).status == 200
    inbox.close()

    (kept,) = Operations(tmp_path / "karla.db").find(Selection())
    assert (kept.received_at, kept.changed_at) == (NOW, NOW)


def test_a_wait_that_karla_asks_for_is_counted_from_the_time_that_a_test_sets(at: At) -> None:
    answer = APIResponse(status=429, body=b"", retry_after_text="Tue, 14 Nov 2023 22:13:30 GMT")
    with at(NOW):
        assert answer.retry_after() == 10
