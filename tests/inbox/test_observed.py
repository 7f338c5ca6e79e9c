"""What an observer is told of the attempts that an inbox's worker makes."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from karla_receiver import Event, Receiver
from karla_receiver.inbox import SQLiteInbox
from karla_receiver.outcomes import Discard, RetryLater, current_attempt
from karla_receiver.sqlite.file import Session
from tests.inbox.stock import delivery, end_leases, hurried, states
from tests.inbox.test_worker import OddDiscard, die_while_handling
from tests.observed import Keeper
from tests.signing import SECRET
from tests.waiting import until

MISFIT = b'{"event_group":"x","source":"shipments","ref":"shipments/delivered/X"}'


@pytest.fixture
def keeper() -> Keeper:
    return Keeper()


Opened = Callable[..., SQLiteInbox]


@pytest.fixture(name="opened")
def _opened(tmp_path: Path, keeper: Keeper) -> Iterator[Opened]:
    """Make an inbox that makes two attempts, and its receiver, and close it afterwards."""
    made: list[SQLiteInbox] = []

    def make(handle: Callable[[Any], object], pattern: str = "*", **options: Any) -> SQLiteInbox:
        usual: dict[str, Any] = {"workers": 1, "first_retry": 0, "max_attempts": 2}
        made.append(hurried(SQLiteInbox(tmp_path / "karla.db", **(usual | options))))
        Receiver(SECRET, inbox=made[-1], observer=keeper).on(pattern)(handle)
        return made[-1]

    yield make
    for inbox in made:
        inbox.close()


def raising(*errors: BaseException | None) -> Callable[[Event], None]:
    """Return a handler that raises one after the other, and the last one for ever."""
    left = list(errors)

    def handle(event: Event) -> None:
        error = left.pop(0) if len(left) > 1 else left[0]
        if error is not None:
            raise error

    return handle


HANDLED = ("handled", False, True)


@pytest.mark.parametrize(
    ("errors", "told"),
    [
        ((None,), [HANDLED]),
        ((Discard("of no concern"),), [("discarded", False, True)]),
        ((OSError(), None), [("handler_error", False, True), HANDLED]),
        ((OSError(),), [("handler_error", False, True), ("handler_error", True, True)]),
        ((SystemExit(), None), [("handler_error", False, True), HANDLED]),
        ((RetryLater(0), None), [("retry_later", False, True), HANDLED]),
        ((RetryLater(0),), [("retry_later", False, True), ("retry_later", True, True)]),
        ((OddDiscard("lost"),), [("handler_error", True, True)]),
    ],
)
def test_each_attempt_is_told_with_what_came_of_it(
    opened: Opened,
    keeper: Keeper,
    errors: tuple[BaseException | None, ...],
    told: list[tuple[str, bool, bool]],
) -> None:
    opened(raising(*errors)).put(delivery())
    until(lambda: len(keeper.attempts()) == len(told))

    assert keeper.attempts() == told
    seen = keeper.told[-1]
    assert seen.seconds >= (seen.handler_seconds or 0) > 0
    assert (seen.status, seen.known_group) == (None, "other")


@pytest.mark.parametrize(
    ("body", "told"),
    [(MISFIT, ("undecodable_event", True, False)), (b"{", ("invalid_json", True, False))],
)
def test_what_no_handler_can_be_called_with_is_told_as_parked(
    opened: Opened, keeper: Keeper, body: bytes, told: tuple[str, bool, bool]
) -> None:
    opened(raising(None), "shipments").put(delivery(body=body))
    until(lambda: keeper.told)
    assert keeper.attempts() == [told]


def test_what_no_handler_wants_is_told_logged_and_done(
    opened: Opened, keeper: Keeper, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    opened(raising(None), "claims").put(delivery())
    until(lambda: states(tmp_path / "karla.db") == {"one": "done"} and keeper.told)

    assert keeper.attempts() == [("unwanted", False, False)]
    assert ["no handler wants" in record.getMessage() for record in caplog.records] == [True]


def test_an_effect_that_could_not_be_committed_is_told(
    opened: Opened, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(session: Session) -> None:
        monkeypatch.undo()
        raise sqlite3.OperationalError("made to fail")

    calls = 0

    def handle(event: Event) -> None:
        nonlocal calls
        calls += 1
        assert current_attempt().transaction
        if calls == 1:
            monkeypatch.setattr(Session, "commit", fail)

    opened(handle).put(delivery())
    until(lambda: len(keeper.told) == 2)
    assert keeper.attempts() == [("unavailable", False, True), HANDLED]


def test_what_killed_its_worker_is_told_as_parked_when_it_is_given_up(
    opened: Opened, keeper: Keeper, tmp_path: Path
) -> None:
    die_while_handling(tmp_path / "karla.db")
    end_leases(tmp_path / "karla.db")
    opened(raising(None), max_attempts=1).start()
    until(lambda: keeper.told)
    assert keeper.attempts() == [("handler_error", True, False)]
    assert states(tmp_path / "karla.db") == {"one": "failed"}


class Rude:
    """An observer that raises what no thread survives."""

    def __init__(self, *, at_begin: bool) -> None:
        self.at_begin = at_begin
        self.raised = 0

    def begin(self) -> Callable[[object], object]:
        if self.at_begin:
            self.interrupt()
        return self.interrupt

    def interrupt(self, *_: object) -> None:
        self.raised += 1
        raise asyncio.CancelledError


@pytest.mark.parametrize("at_begin", [False, True])
def test_whatever_an_observer_raises_changes_nothing_and_ends_no_thread(
    tmp_path: Path, *, at_begin: bool
) -> None:
    path = tmp_path / "karla.db"
    die_while_handling(path)  # what killed a worker is told of by the bookkeeper's thread
    end_leases(path)
    observer = Rude(at_begin=at_begin)
    inbox = hurried(SQLiteInbox(path, workers=1, max_attempts=1))
    Receiver(SECRET, inbox=inbox, observer=observer).on("*")(lambda event: None)
    for key in ("two", "three"):
        inbox.put(delivery(key))
    until(lambda: states(path) == {"one": "failed", "two": "done", "three": "done"})
    until(lambda: observer.raised == 3)
    assert inbox.stop()
    inbox.close()
