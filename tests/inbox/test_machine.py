"""The inbox's rows against a model in a dict: whatever is done, and whatever dies."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection
from typing import TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from karla_receiver.inbox import rows, workers
from karla_receiver.inbox.rows import Put, Settlement, State, Taken
from karla_receiver.sqlite.file import SQLiteFile
from tests.inbox.stock import delivery

_T = TypeVar("_T")

LEASE, RETENTION, MAX_ATTEMPTS = 60.0, 1000.0, 3
OUTCOMES = st.sampled_from([State.DONE, State.FAILED, State.WAITING, State.QUARANTINED])


@dataclass
class Entry:
    """What the model knows of a delivery."""

    number: int
    lane: str | None
    state: State
    due: float = 0.0
    attempts: int = 0
    worker: int | None = None
    changed_at: float = 0.0


class InboxMachine(RuleBasedStateMachine):
    """Puts, workers that take, settle, die and are buried, and time."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.session = SQLiteFile(Path(self.directory.name) / "karla.db").open()
        self.session.connection.execute("PRAGMA synchronous = OFF")
        self.now = 10_000.0
        self.entries: dict[str, Entry] = {}
        # In order of enlistment: a choice by their numbers, which are random, would be another one
        # when Hypothesis runs an example again.
        self.beats: dict[int, float] = {}
        self.held: list[tuple[int, Taken]] = []  # also what was lost to another worker since
        self.puts = 0

    def teardown(self) -> None:
        self.session.close()
        self.directory.cleanup()

    def transact(self, work: Callable[[Connection], _T]) -> _T:
        self.session.begin()
        result = work(self.session.connection)
        self.session.commit()
        return result

    @rule(key=st.sampled_from("abcdef"), lane=st.sampled_from([None, "x", "y"]))
    def put(self, key: str, lane: str | None) -> None:
        novelty = self.transact(Put(delivery(key, received_at=self.now), "e", lane, self.now))
        assert novelty == ("duplicate" if key in self.entries else "new")
        if novelty == "new":
            self.puts += 1
            entry = Entry(self.puts, lane, State.WAITING, changed_at=self.now)
            self.entries[key] = entry

    @rule()
    def enlist(self) -> None:
        worker = self.transact(lambda c: workers.enlist(c, "e", self.now, LEASE))
        assert worker not in self.beats
        self.beats[worker] = self.now

    def is_free(self, entry: Entry) -> bool:
        return not any(
            other.lane == entry.lane
            and (
                other.state == State.RUNNING
                or (other.state == State.WAITING and other.number < entry.number)
            )
            for other in self.entries.values()
            if entry.lane is not None and other is not entry
        )

    @precondition(lambda self: self.beats)
    @rule(limit=st.integers(1, 3), data=st.data())
    def take(self, limit: int, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(list(self.beats)))
        found = rows.find_due(self.session.connection, "e", self.now, limit)
        taken = self.transact(lambda c: rows.take(c, found, worker, self.now))
        free = [
            entry
            for entry in self.entries.values()
            if entry.state == State.WAITING and entry.due <= self.now and self.is_free(entry)
        ]
        free.sort(key=lambda entry: (-entry.due, entry.number))
        assert [self.entries[each.key] for each in taken] == free[:limit]
        for each in taken:
            entry = self.entries[each.key]
            entry.state, entry.worker = State.RUNNING, worker
            entry.attempts += 1
            assert each.attempts == entry.attempts
            self.held.append((worker, each))

    @precondition(lambda self: self.held)
    @rule(state=OUTCOMES, wait=st.sampled_from([0.0, 30.0]), data=st.data())
    def settle(self, state: State, wait: float, data: st.DataObject) -> None:
        worker, taken = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        due = self.now + wait if state == State.WAITING and wait else 0.0
        settlement = Settlement(id=taken.id, take=taken.take, state=state, due=due)
        was_own = self.transact(lambda c: settlement.apply(c, self.now))
        entry = self.entries.get(taken.key)
        is_own = entry is not None and entry.state == State.RUNNING and entry.worker == worker
        assert was_own == is_own
        if entry is not None and is_own:
            entry.state, entry.due, entry.worker = state, due, None
            entry.changed_at = self.now

    @precondition(lambda self: self.beats)
    @rule(data=st.data())
    def beat(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(list(self.beats)))
        assert self.transact(lambda c: workers.beat(c, worker, self.now))
        self.beats[worker] = self.now

    @rule()
    def bury(self) -> None:
        def work(connection: Connection) -> dict[State, int]:
            return workers.bury_the_dead(
                connection, "e", monotonic=self.now, now=self.now, attempts=MAX_ATTEMPTS
            )

        freed = self.transact(work)
        dead = {worker for worker, beat in self.beats.items() if self.now >= beat + LEASE}
        lost = [entry for entry in self.entries.values() if entry.worker in dead]
        for entry in lost:
            is_used_up = entry.attempts >= MAX_ATTEMPTS
            entry.state = State.FAILED if is_used_up else State.WAITING
            entry.due, entry.worker, entry.changed_at = 0.0, None, self.now
            freed[entry.state] -= 1
        assert set(freed.values()) == {0}
        for worker in dead:
            del self.beats[worker]

    @rule()
    def purge(self) -> None:
        before = self.now - RETENTION
        count = self.transact(lambda c: rows.purge(c, "e", before, 100))
        over = [
            key
            for key, entry in self.entries.items()
            if entry.state == State.DONE and entry.changed_at < before
        ]
        assert count == len(over)
        for key in over:
            del self.entries[key]

    @rule(seconds=st.sampled_from([1.0, 29.0, LEASE, RETENTION]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def the_file_says_what_the_model_says(self) -> None:
        found = self.session.connection.execute(
            "SELECT key, state, due, attempts, worker FROM karla_inbox JOIN karla_content"
            " USING (id)"
        )
        assert {row[0]: row[1:] for row in found} == {
            key: (entry.state, entry.due, entry.attempts, entry.worker)
            for key, entry in self.entries.items()
        }


InboxMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestInbox = InboxMachine.TestCase
