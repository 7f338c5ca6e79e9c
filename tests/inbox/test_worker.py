from __future__ import annotations

import asyncio
import logging
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from karla_receiver import ClaimEvent, ConfigurationError, Event, Receiver, samples
from karla_receiver.errors import StorageError
from karla_receiver.inbox import SQLiteInbox, by_subject
from karla_receiver.inbox.attempts import Attempts
from karla_receiver.inbox.rows import Settlement
from karla_receiver.outcomes import Discard, RetryLater, current_attempt
from karla_receiver.sqlite.file import Session
from karla_receiver.sqlite.writer import Writer
from tests.inbox.stock import (
    delivery,
    end_leases,
    hurried,
    in_threads,
    query,
    query_and_commit,
    served,
    states,
)
from tests.signing import SECRET
from tests.waiting import PATIENCE_SECONDS, until

Opened = Callable[..., SQLiteInbox]

WITHOUT_BEATS = {"longest_beat": 3600}  # but for one when it starts


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "karla.db"


@pytest.fixture(name="opened")
def _opened(path: Path) -> Iterator[Opened]:
    """Make an inbox whose deliveries are retried at once, and close it afterwards.

    worker: private options of its worker, instead of those of `hurried`.
    """
    made: list[SQLiteInbox] = []

    def make(*, worker: dict[str, Any] | None = None, **options: Any) -> SQLiteInbox:
        fast: dict[str, Any] = {"workers": 2, "first_retry": 0, "lease": 86_400}
        made.append(hurried(SQLiteInbox(path, **(fast | options)), **(worker or {})))
        return made[-1]

    yield make
    for inbox in made:
        inbox.close()


def settled(path: Path) -> bool:
    return not {"waiting", "running"} & set(states(path).values())


def row(path: Path) -> tuple[str, int, str | None]:
    (found,) = query(path, "SELECT state, attempts, note FROM karla_inbox")
    state, attempts, note = found
    return state, attempts, note


def latest_beat(path: Path) -> float:
    ((beat,),) = query(path, "SELECT max(beat) FROM karla_workers")
    return float(beat)


def await_beats(path: Path) -> None:
    """Return when a worker has renewed its lease twice: it may have begun to before the call."""
    for _ in range(2):
        before = latest_beat(path)
        until(lambda before=before: latest_beat(path) > before)  # type: ignore[misc]


def is_at(path: Path, state_and_attempts: tuple[str, int]) -> bool:
    return row(path)[:2] == state_and_attempts


def test_each_delivery_is_handled_and_done(opened: Opened, path: Path) -> None:
    handled: list[str] = []

    def handle(event: Event) -> None:
        handled.append(event.raw["n"])

    inbox = opened()
    served(inbox, handle)
    in_threads(4, lambda name: [inbox.put(delivery(f"{name}{n}")) for n in range(50)])
    until(lambda: settled(path))

    assert sorted(handled) == sorted(states(path))
    assert set(states(path).values()) == {"done"}
    assert len(handled) == 200


def test_an_async_handler_is_run_to_its_end(opened: Opened, path: Path) -> None:
    handled: list[str] = []

    async def handle(event: Event) -> None:
        await asyncio.sleep(0)
        handled.append(current_attempt().key)

    inbox = opened()
    served(inbox, handle)
    asyncio.run(inbox.put_async(delivery("a")))
    until(lambda: settled(path))
    assert handled == ["a"]


def test_without_a_handler_that_wants_it_a_delivery_is_done(opened: Opened, path: Path) -> None:
    inbox = opened()
    Receiver(SECRET, inbox=inbox)
    inbox.put(delivery())
    until(lambda: settled(path))
    assert row(path) == ("done", 1, None)


def raising(error: BaseException) -> Callable[[Event], None]:
    def handle(event: Event) -> None:
        raise error

    return handle


ERRORS = [
    ValueError("text that is not for the list"),
    SystemExit(1),
    KeyboardInterrupt(),
    asyncio.CancelledError(),
    RecursionError(),
    MemoryError(),
    StopIteration(),
    ConfigurationError("one of ours"),
    sqlite3.OperationalError("the handler's own database"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_handler_that_raises_is_tried_again_and_at_last_failed(
    opened: Opened, path: Path, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    inbox = opened(max_attempts=3)
    served(inbox, raising(error))
    inbox.put(delivery())
    until(lambda: settled(path))

    name = type(error).__name__.replace("CancelledError", "HandlerCancelledError")
    assert row(path) == ("failed", 3, name)
    levels = [record.levelno for record in caplog.records if "attempt" in record.message]
    assert levels == [logging.WARNING, logging.WARNING, logging.ERROR]
    inbox.put(delivery("another"))  # the worker lives on
    until(lambda: states(path)["another"] == "failed")


class OddDiscard(Discard):
    """One whose reason cannot be told."""

    def __getattribute__(self, name: str) -> Any:
        if name == "reason":
            raise ValueError("no reason")
        return super().__getattribute__(name)


@pytest.mark.parametrize("has_transaction", [False, True])
def test_an_error_while_an_attempt_is_settled_fails_that_delivery_alone(
    opened: Opened, path: Path, has_transaction: bool
) -> None:
    def handle(event: Event) -> None:
        if has_transaction:
            assert current_attempt().transaction
        if event.raw["n"] == "odd":
            raise OddDiscard("lost")

    inbox = opened(workers=1)
    served(inbox, handle)
    inbox.put(delivery("odd"))
    inbox.put(delivery("next"))
    until(lambda: settled(path))
    assert states(path) == {"odd": "failed", "next": "done"}
    assert query(path, "SELECT note FROM karla_inbox WHERE key = 'odd'") == [("ValueError",)]


@pytest.mark.parametrize(
    ("outcome", "reason", "state"),
    [(Discard("a"), "\ud800", "done"), (RetryLater(0), {"of": "no text"}, "failed")],
    ids=["surrogate", "dict"],
)
def test_a_note_that_cannot_be_kept_holds_up_no_other(
    opened: Opened, path: Path, outcome: Any, reason: object, state: str
) -> None:
    def handle(event: Event) -> None:
        if event.raw["n"] == "odd":
            outcome.reason = reason
            raise outcome

    inbox = opened(max_attempts=1)
    served(inbox, handle)
    for key in ("odd", "next"):
        inbox.put(delivery(key))
    until(lambda: settled(path))
    assert states(path) == {"odd": state, "next": "done"}
    notes = query(path, "SELECT note FROM karla_inbox WHERE key = 'odd'")
    assert notes == [("what is to be noted here cannot be kept",)]


def test_no_note_is_lost_to_a_clock_that_fails(opened: Opened, path: Path) -> None:
    failures = iter([ValueError()] * 4)
    is_handled = threading.Event()

    def clock() -> float:
        if is_handled.is_set():
            for failure in failures:
                raise failure
        return time.time()

    inbox = opened(clock=clock)
    served(inbox, lambda event: is_handled.set())
    inbox.put(delivery())
    until(lambda: settled(path))
    assert row(path) == ("done", 1, None)
    assert list(failures) == []


def test_no_note_is_lost_to_a_file_that_fails_while_they_are_made_singly(
    opened: Opened, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: Iterator[Exception] = iter([TypeError(), StorageError("locked")])
    is_handled = threading.Event()
    run = Writer.run

    def run_at_last(writer: Writer, work: Any) -> Any:
        if is_handled.is_set() and threading.current_thread().name == "karla-worker-books":
            for failure in failures:
                raise failure
        return run(writer, work)

    monkeypatch.setattr(Writer, "run", run_at_last)
    inbox = opened(worker=WITHOUT_BEATS)
    served(inbox, lambda event: is_handled.set())
    inbox.put(delivery())
    until(lambda: settled(path))
    assert row(path) == ("done", 1, None)
    assert list(failures) == []


def test_several_errors_are_named(opened: Opened, path: Path) -> None:
    inbox = opened(max_attempts=1)
    receiver = served(inbox, raising(ValueError()))
    receiver.on("*")(raising(KeyError()))
    inbox.put(delivery())
    until(lambda: settled(path))
    assert row(path) == ("failed", 1, "ValueError, KeyError")


def test_retry_later_waits_and_counts(opened: Opened, path: Path) -> None:
    clock = 1_000_000.0
    inbox = opened(clock=lambda: clock, max_attempts=2)
    served(inbox, raising(RetryLater(600, "no stock yet")))
    inbox.put(delivery())
    until(lambda: row(path) == ("waiting", 1, "no stock yet"))
    assert query(path, "SELECT due FROM karla_inbox") == [(1_000_600.0,)]

    clock += 600
    until(lambda: row(path) == ("failed", 2, "no stock yet"))


def test_discard_is_done_and_keeps_the_reason(opened: Opened, path: Path) -> None:
    inbox = opened()
    served(inbox, raising(Discard("a test order")))
    inbox.put(delivery())
    until(lambda: settled(path))
    assert row(path) == ("done", 1, "discarded: a test order")


def test_an_event_that_does_not_fit_its_handler_is_failed_at_once(
    opened: Opened, path: Path
) -> None:
    inbox = opened()
    receiver = Receiver(SECRET, inbox=inbox)
    called: list[ClaimEvent] = []
    receiver.on("claims")(called.append)
    body = b'{"event_group":"claim_created","source":"claims","ref":"claims/created"}'
    inbox.put(delivery(body=body))
    until(lambda: settled(path))

    state, attempts, note = row(path)
    assert (state, attempts, called) == ("failed", 1, [])
    assert note
    assert note.startswith("undecodable_event: ")


def test_what_can_no_longer_be_read_is_quarantined(opened: Opened, path: Path) -> None:
    inbox = opened()
    served(inbox, raising(AssertionError()))
    inbox.put(delivery(body=b"{"))
    until(lambda: settled(path))
    assert row(path)[0] == "quarantined"


def test_the_wait_doubles_up_to_a_limit(
    opened: Opened, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = 0.0
    inbox = opened(clock=lambda: clock, first_retry=10, longest_retry=40, max_attempts=5)
    served(inbox, raising(ValueError()))
    inbox.put(delivery())
    for attempt, longest in ((1, 10), (2, 20), (3, 40), (4, 40)):
        until(partial(is_at, path, ("waiting", attempt)))
        ((due,),) = query(path, "SELECT due FROM karla_inbox")
        assert longest / 2 <= due - clock <= longest
        assert f"attempt {attempt} of 5 at delivery one failed, next in {due - clock:.0f} s" in (
            caplog.text
        )
        clock = due


# -- the transaction


def effects(path: Path) -> list[str]:
    return [key for (key,) in query(path, "SELECT key FROM effects")]


def write_effect(event: Event) -> None:
    attempt = current_attempt()
    attempt.transaction.execute("INSERT INTO effects VALUES (?)", (attempt.key,))


def test_an_async_handler_does_not_stop_the_loop_that_another_one_needs_to_end(
    opened: Opened, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Both run on one event loop: the second would wait for the first, which could not go on."""
    has_failed = asyncio.Event()
    attempts: Counter[str] = Counter()

    async def handle(event: Event) -> None:
        attempt = current_attempt()
        attempts[attempt.key] += 1
        try:
            attempt.transaction.execute("INSERT INTO effects VALUES (?)", (attempt.key,))
        except StorageError:
            has_failed.set()
            raise
        await has_failed.wait()

    inbox = opened(workers=0)
    query(path, "CREATE TABLE effects (key)")
    served(inbox, handle)
    # Both, before one of them is taken: its transaction would keep the other out of the file.
    inbox.put(delivery("a"))
    inbox.put(delivery("b"))
    inbox.start(2)
    until(lambda: settled(path))
    assert sorted(query(path, "SELECT key FROM effects")) == [("a",), ("b",)]
    assert sorted(attempts.values()) == [1, 2]
    assert "make handlers that write in it sync" in caplog.text


def test_an_effect_in_the_transaction_and_the_mark_are_one(opened: Opened, path: Path) -> None:
    query(path, "CREATE TABLE effects (key)")
    inbox = opened()
    served(inbox, write_effect)
    in_threads(4, lambda name: [inbox.put(delivery(f"{name}{n}")) for n in range(10)])
    until(lambda: settled(path))
    assert sorted(effects(path)) == sorted(states(path))


@pytest.mark.parametrize(
    ("error", "state"),
    [(ValueError(), "failed"), (RetryLater(0), "failed"), (Discard("no"), "done")],
    ids=["error", "retry", "discard"],
)
def test_an_attempt_that_does_not_succeed_takes_no_effect(
    opened: Opened, path: Path, error: Exception, state: str
) -> None:
    def handle(event: Event) -> None:
        write_effect(event)
        raise error

    query(path, "CREATE TABLE effects (key)")
    inbox = opened(max_attempts=2)
    served(inbox, handle)
    inbox.put(delivery())
    until(lambda: settled(path))
    assert row(path)[0] == state
    assert effects(path) == []
    assert inbox.put(delivery("the writer is free again")) == "new"


@pytest.mark.parametrize("order", [("grants", "discards"), ("discards", "grants")])
def test_a_handler_that_discards_undoes_its_own_effect_and_no_other_s(
    opened: Opened, path: Path, order: tuple[str, str]
) -> None:
    def handler(name: str) -> Callable[[Event], None]:
        def handle(event: Event) -> None:
            current_attempt().transaction.execute("INSERT INTO effects VALUES (?)", (name,))
            if name == "discards":
                raise Discard("not for me")

        return handle

    query(path, "CREATE TABLE effects (key)")
    inbox = opened(workers=1)
    receiver = Receiver(SECRET, inbox=inbox)
    for name in order:
        receiver.on("*")(handler(name))
    inbox.put(delivery())
    until(lambda: settled(path))
    assert row(path) == ("done", 1, "discarded: not for me")
    assert effects(path) == ["grants"]


@pytest.mark.parametrize("statement", ["COMMIT", "ROLLBACK", "BEGIN"])
def test_a_handler_cannot_end_the_transaction(opened: Opened, path: Path, statement: str) -> None:
    def handle(event: Event) -> None:
        write_effect(event)
        current_attempt().transaction.execute(statement)

    query(path, "CREATE TABLE effects (key)")
    inbox = opened(max_attempts=1)
    served(inbox, handle)
    inbox.put(delivery())
    until(lambda: settled(path))
    assert row(path) == ("failed", 1, "DatabaseError")
    assert effects(path) == []


def test_a_statement_that_rolls_back_by_itself_fails_the_attempt(
    opened: Opened, path: Path
) -> None:
    def handle(event: Event) -> None:
        transaction = current_attempt().transaction
        write_effect(event)
        transaction.execute("INSERT INTO one VALUES (1)")
        with suppress(sqlite3.IntegrityError):
            transaction.execute("INSERT OR ROLLBACK INTO one VALUES (1)")
        with suppress(sqlite3.DatabaseError):  # denied: it would be committed by itself
            transaction.execute("INSERT INTO effects VALUES ('alone')")

    query(path, "CREATE TABLE effects (key)")
    query(path, "CREATE TABLE one (key PRIMARY KEY)")
    inbox = opened(max_attempts=1)
    served(inbox, handle)
    inbox.put(delivery())
    until(lambda: settled(path))
    note = "a statement of the handler has rolled its transaction back"
    assert row(path) == ("failed", 1, note)
    assert effects(path) == []


def set_everything(connection: sqlite3.Connection) -> None:
    connection.row_factory = sqlite3.Row
    connection.text_factory = bytes


def test_what_a_handler_sets_on_its_connection_is_gone_with_it(opened: Opened, path: Path) -> None:
    let_go = threading.Event()
    calls: list[str] = []

    def handle(event: Event) -> None:
        calls.append(event.raw["n"])
        if event.raw["n"] == "first":
            set_everything(current_attempt().transaction)
            raise Discard("its connection is odd now")
        let_go.wait(PATIENCE_SECONDS)

    inbox = opened(workers=2)
    served(inbox, handle)
    inbox.put(delivery("first"))
    until(lambda: settled(path))
    inbox.put(delivery("slow"))
    until(lambda: states(path)["slow"] == "running")
    await_beats(path)
    assert calls == ["first", "slow"], "it was taken from the worker that had it"
    let_go.set()
    until(lambda: settled(path))


def test_a_handler_that_closes_its_connection_fails_alone(opened: Opened, path: Path) -> None:
    def handle(event: Event) -> None:
        if event.raw["n"] == "closes":
            with closing(current_attempt().transaction) as connection:
                connection.execute("SELECT 1")

    inbox = opened(workers=1, max_attempts=1)
    served(inbox, handle)
    inbox.put(delivery("closes"))
    inbox.put(delivery("next"))
    until(lambda: settled(path))
    assert states(path) == {"closes": "failed", "next": "done"}
    ((note,),) = query(path, "SELECT note FROM karla_inbox WHERE key = 'closes'")
    assert note.startswith("the handler closed its transaction")


def test_an_effect_is_undone_if_the_delivery_was_taken_over(
    opened: Opened, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calls = 0

    def handle(event: Event) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:  # as another worker would, after this one's lease has ended
            query_and_commit(path, "UPDATE karla_inbox SET state = 'waiting', takes = takes")
            query_and_commit(path, "UPDATE karla_inbox SET takes = takes + 1")
        write_effect(event)

    query(path, "CREATE TABLE effects (key)")
    inbox = opened(workers=1)
    served(inbox, handle)
    inbox.put(delivery())
    until(lambda: settled(path))
    assert effects(path) == ["one"]
    assert calls == 2
    assert "its effect is undone" in caplog.text


def test_a_transaction_that_is_kept_too_long_costs_others_a_503(
    opened: Opened, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holding, let_go = threading.Event(), threading.Event()

    def handle(event: Event) -> None:
        assert current_attempt().transaction
        holding.set()
        let_go.wait(PATIENCE_SECONDS)

    inbox = opened(workers=1)
    served(inbox, handle)
    inbox.put(delivery())
    assert holding.wait(PATIENCE_SECONDS)
    with monkeypatch.context() as patch:
        patch.setattr("karla_receiver.sqlite.writer._PATIENCE_SECONDS", 0.1)
        for put in (inbox.put, lambda each: asyncio.run(inbox.put_async(each))):
            with pytest.raises(StorageError, match=r"has kept its transaction for 0\.1 s"):
                put(delivery("second"))
    let_go.set()
    until(lambda: states(path) == {"one": "done"})
    assert inbox.put(delivery("second")) == "new"


# -- stopping, dying, taking over


def test_stopping_finishes_what_runs_and_returns_the_rest(opened: Opened, path: Path) -> None:
    running = threading.Event()

    def handle(event: Event) -> None:
        running.set()
        until(lambda: worker._stopping)  # pyright: ignore[reportPrivateUsage]

    inbox = opened(workers=2)
    served(inbox, handle)
    inbox.start()
    worker: Any = inbox._worker  # pyright: ignore[reportPrivateUsage]
    for number in range(100):
        inbox.put(delivery(str(number)))
    assert running.wait(PATIENCE_SECONDS)
    assert inbox.stop(grace=PATIENCE_SECONDS)

    counted = list(states(path).values())
    assert counted.count("running") == 0
    assert 1 <= counted.count("done") <= 2
    assert counted.count("waiting") == 100 - counted.count("done")
    assert query(path, "SELECT sum(attempts) FROM karla_inbox") == [(counted.count("done"),)]
    inbox.start()  # by itself it starts with the next delivery
    until(lambda: settled(path))


def test_what_hangs_is_returned_when_the_grace_is_over(opened: Opened, path: Path) -> None:
    hanging, let_go = threading.Event(), threading.Event()

    def handle(event: Event) -> None:
        hanging.set()
        let_go.wait(PATIENCE_SECONDS)

    inbox = opened(workers=1)
    served(inbox, handle)
    inbox.put(delivery())
    assert hanging.wait(PATIENCE_SECONDS)
    assert not inbox.stop(grace=0.05)
    assert row(path) == ("waiting", 1, "the worker was stopped")
    let_go.set()


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("end", [SQLiteInbox.stop, SQLiteInbox.close])
def test_a_handler_cannot_stop_the_worker_that_calls_it(
    opened: Opened, path: Path, end: Callable[[SQLiteInbox], object], is_async: bool
) -> None:
    refusals: list[str] = []

    def handle(event: Event) -> None:
        with pytest.raises(ConfigurationError) as caught:
            end(inbox)
        refusals.append(str(caught.value))

    async def handle_async(event: Event) -> None:
        handle(event)

    inbox = opened(workers=1)
    served(inbox, handle_async if is_async else handle)
    for key in ("one", "two"):  # nothing was changed by the first
        inbox.put(delivery(key))
    until(lambda: settled(path))
    assert refusals == ["a handler or an observer cannot stop its own worker"] * 2
    assert inbox.stop()


def is_bookkeeper(thread: threading.Thread) -> bool:
    return thread.name == "karla-worker-books"


def test_a_handler_that_keeps_its_transaction_does_not_keep_the_worker_from_stopping(
    opened: Opened, path: Path
) -> None:
    holding, let_go, ended = threading.Event(), threading.Event(), threading.Event()

    def handle(event: Event) -> None:
        assert current_attempt().transaction
        holding.set()
        let_go.wait(PATIENCE_SECONDS)
        ended.set()

    inbox = opened(workers=1, worker={"last_wait": 0.05})
    served(inbox, handle)
    inbox.put(delivery())
    assert holding.wait(PATIENCE_SECONDS)
    assert not inbox.stop(grace=0.05)
    assert not ended.is_set(), "it waited for the transaction"
    let_go.set()
    until(lambda: row(path)[0] in ("done", "waiting"))
    # Its last look would be in SQLite when a later test forks.
    until(lambda: not any(map(is_bookkeeper, threading.enumerate())))


def test_a_hanging_handler_holds_up_no_other_delivery(opened: Opened, path: Path) -> None:
    let_go = threading.Event()

    def handle(event: Event) -> None:
        if event.raw["n"] == "hangs":
            let_go.wait(PATIENCE_SECONDS)

    inbox = opened(workers=2)
    served(inbox, handle)
    inbox.put(delivery("hangs"))
    for number in range(10):
        inbox.put(delivery(str(number)))
    until(lambda: list(states(path).values()).count("done") == 10)
    assert states(path)["hangs"] == "running"
    let_go.set()


def die_while_handling(path: Path) -> None:
    program = (
        "import os, sys, time\n"
        "from tests.inbox.stock import delivery, served\n"
        "from karla_receiver.inbox import SQLiteInbox\n"
        "inbox = SQLiteInbox(sys.argv[1], workers=1)\n"
        "receiver = served(inbox, lambda event: os._exit(9))\n"
        "inbox.put(delivery())\n"
        "time.sleep(60)\n"
    )
    root = Path(__file__).parent.parent.parent
    assert subprocess.run([sys.executable, "-c", program, path], cwd=root).returncode == 9


def test_a_dead_worker_s_deliveries_are_taken_over(
    opened: Opened, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    die_while_handling(path)
    assert row(path)[:2] == ("running", 1)
    inbox = opened()
    served(inbox, lambda event: None)
    inbox.start()
    until(lambda: len(query(path, "SELECT id FROM karla_workers")) == 2)
    await_beats(path)
    assert row(path)[:2] == ("running", 1), "its lease had not ended yet"
    end_leases(path)
    until(lambda: settled(path))
    assert row(path)[:2] == ("done", 2)
    assert "took over 1 deliveries of workers that died" in caplog.text


def test_what_kills_its_worker_is_failed_at_last(opened: Opened, path: Path) -> None:
    die_while_handling(path)
    end_leases(path)
    inbox = opened(max_attempts=1)
    served(inbox, lambda event: None)
    inbox.start()
    until(lambda: settled(path))
    assert row(path) == ("failed", 1, "its worker died")


def test_a_worker_that_lives_keeps_its_lease(opened: Opened, path: Path) -> None:
    passed = 0.0
    let_go = threading.Event()

    def clock() -> float:
        return 1_000.0 + passed

    def beats() -> list[float]:
        return [beat for (beat,) in query(path, "SELECT beat FROM karla_workers")]

    options: dict[str, Any] = {"workers": 1, "lease": 60, "worker": {"monotonic": clock}}

    first = opened(**options)
    served(first, lambda event: let_go.wait(PATIENCE_SECONDS))
    first.put(delivery())
    until(lambda: row(path)[0] == "running")
    second = opened(**options)
    handled: list[Event] = []
    served(second, handled.append)
    second.start()
    until(lambda: len(beats()) == 2)
    for _ in range(10):  # five leases, half a one at a time
        until(lambda: set(beats()) == {clock()})
        passed += 30
    assert handled == []
    let_go.set()
    until(lambda: settled(path))
    assert row(path)[1] == 1


def test_a_worker_taken_for_dead_goes_on_as_another(
    opened: Opened, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    inbox = opened()
    served(inbox, lambda event: None)
    inbox.start()
    until(lambda: query(path, "SELECT * FROM karla_workers"))
    query_and_commit(path, "DELETE FROM karla_workers")
    until(lambda: query(path, "SELECT * FROM karla_workers"))
    inbox.put(delivery())
    until(lambda: settled(path))
    assert "was taken for dead: a longer lease is needed" in caplog.text


def test_what_the_file_says_it_has_and_it_knows_nothing_of_is_handled(
    opened: Opened, path: Path
) -> None:
    inbox = opened()
    served(inbox, lambda event: None)
    inbox.start()
    until(lambda: query(path, "SELECT * FROM karla_workers"))
    other = SQLiteInbox(path)
    other.put(delivery("quarantined", problem="not yet"))
    query_and_commit(
        path,
        "UPDATE karla_inbox SET state = 'running', worker = (SELECT max(id) FROM karla_workers)",
    )
    other.close()
    until(lambda: states(path) == {"quarantined": "done"})


def test_a_worker_survives_the_loss_of_its_file(
    opened: Opened, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    inbox = opened()
    served(inbox, lambda event: None)
    inbox.put(delivery())
    until(lambda: settled(path))
    remove(path)
    until(lambda: "the worker cannot use the inbox, and goes on trying" in caplog.text)
    until(lambda: put_again(inbox, "second"))
    until(lambda: states(path).get("second") == "done")


def remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink()


def put_again(inbox: SQLiteInbox, key: str) -> bool:
    """Put, as a sender does that is answered 503; return whether it is there."""
    with suppress(StorageError):
        inbox.put(delivery(key))
        return True
    return False


def test_a_handler_that_was_at_a_file_now_gone_settles_nothing_in_the_next(
    opened: Opened, path: Path
) -> None:
    """Though both files have a first row, taken for the first time."""
    let_go = {"old": threading.Event(), "new": threading.Event()}
    running: list[str] = []

    def handle(event: Event) -> None:
        running.append(event.raw["n"])
        assert let_go[event.raw["n"]].wait(PATIENCE_SECONDS)
        if event.raw["n"] == "new" and running.count("new") == 1:
            raise ValueError

    inbox = opened(worker=WITHOUT_BEATS)  # the first to find the file gone is the test
    served(inbox, handle)
    inbox.put(delivery("old"))
    until(lambda: running == ["old"])
    remove(path)
    with pytest.raises(StorageError, match="deleted or replaced"):
        inbox.put(delivery("new"))
    assert inbox.put(delivery("new")) == "new"
    until(lambda: running == ["old", "new"])
    assert query(path, "SELECT id FROM karla_inbox") == [(1,)]

    let_go["old"].set()
    inbox.put(delivery("old"))  # is handled by the thread that was at it before
    until(lambda: states(path)["old"] == "done")
    assert states(path)["new"] == "running"
    let_go["new"].set()
    until(lambda: settled(path))
    assert set(states(path).values()) == {"done"}
    assert running.count("new") == 2


@pytest.mark.slow
def test_two_workers_whose_file_was_replaced_leave_each_other_s_deliveries_alone(
    opened: Opened, path: Path
) -> None:
    let_go = threading.Event()
    handled: list[str] = []

    def handle(event: Event) -> None:
        handled.append(event.raw["n"])
        assert let_go.wait(PATIENCE_SECONDS)

    def beats() -> list[float]:
        return [beat for (beat,) in query(path, "SELECT beat FROM karla_workers")]

    # The second one finds the new file first, where the first one has its first look later.
    inboxes = [opened(workers=1, worker={"longest_beat": beat}) for beat in (0.5, 0.05)]
    for number, inbox in enumerate(inboxes, 1):
        served(inbox, handle)
        inbox.start()
        until(lambda number=number: len(beats()) == number)  # type: ignore[misc]
    remove(path)
    SQLiteInbox(path).close()
    until(lambda: len(beats()) == 2)
    for key in "ab":
        inboxes[0].put(delivery(key))
    until(lambda: sorted(handled) == ["a", "b"])
    begun = max(beats())
    until(lambda: min(beats()) > begun)  # either has looked at what it has
    let_go.set()
    until(lambda: settled(path))
    assert sorted(handled) == ["a", "b"]
    assert query(path, "SELECT DISTINCT attempts FROM karla_inbox") == [(1,)]


def test_the_worker_of_the_parent_stays_there(opened: Opened, path: Path) -> None:
    from tests.inbox.test_put import run_forks

    inbox = opened()
    served(inbox, lambda event: None)
    inbox.put(delivery("before"))
    until(lambda: settled(path))

    def put_in_child() -> None:
        inbox.put(delivery("in the child"))
        until(lambda: settled(path))
        assert inbox.stop()

    run_forks((put_in_child,))
    inbox.put(delivery("afterwards"))
    until(lambda: settled(path))
    assert set(states(path).values()) == {"done"}


def test_a_worker_needs_a_receiver_and_a_thread(opened: Opened) -> None:
    with pytest.raises(ConfigurationError, match="no receiver has this inbox"):
        opened().start()
    inbox = opened(workers=0)
    served(inbox, lambda event: None)
    with pytest.raises(ConfigurationError, match="workers is a whole number, 1 to 256"):
        inbox.start()
    assert inbox.stop()


def test_nobody_at_work_is_warned_of_once_a_minute(
    opened: Opened, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    inbox = opened(workers=0)
    for number in range(3):
        inbox.put(delivery(str(number)))
    assert caplog.text.count("run `karla-receiver work module:receiver`") == 1

    caplog.clear()
    beside = opened(workers=1)
    served(beside, lambda event: None)
    beside.start()
    until(lambda: settled(path))
    opened(workers=0).put(delivery("another"))
    assert "no worker is alive" not in caplog.text


@pytest.mark.parametrize("is_its_own", [True, False])
def test_deliveries_that_wait_while_nothing_moves_are_warned_of(
    opened: Opened,
    path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    is_its_own: bool,
) -> None:
    monkeypatch.setattr("karla_receiver.inbox.idle._EVERY_SECONDS", 0)
    going_on = threading.Event()
    web = opened(workers=1 if is_its_own else 0)
    served(web, lambda event: going_on.wait(PATIENCE_SECONDS))
    web.start(1)
    web.put(delivery("hangs"))
    until(lambda: states(path) == {"hangs": "running"})
    caplog.clear()
    web.put(delivery("waits"))
    # By the worker itself, without another delivery.
    until(lambda: "no worker has taken one for" in caplog.text)
    going_on.set()
    until(lambda: settled(path))


def test_a_worker_that_does_not_move_is_noticed_by_who_puts(
    opened: Opened, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("karla_receiver.inbox.idle._EVERY_SECONDS", 0)
    frozen = opened(workers=1)
    monkeypatch.setattr(frozen, "_rouse", lambda: None)
    frozen.put(delivery("first"))
    assert caplog.text == ""
    frozen.put(delivery("second"))
    assert "no worker has taken one for" in caplog.text


def test_deliveries_that_move_are_not_warned_of(
    opened: Opened, path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    minutes = 1
    monkeypatch.setattr(
        "karla_receiver.inbox.idle.time", SimpleNamespace(monotonic=lambda: 61.0 * minutes)
    )
    inbox = opened(workers=1)
    served(inbox, lambda event: None)
    for minutes in range(2, 6):
        inbox.put(delivery(str(minutes)))
        until(lambda: settled(path))
    assert caplog.text == ""


# -- clocks


@pytest.mark.parametrize("jump", [3600.0, -3600.0, -1e9])
def test_a_clock_that_jumps_holds_nothing_up_and_hands_nothing_out_twice(
    opened: Opened, path: Path, jump: float
) -> None:
    clock = 1_000_000_000.0
    let_go = threading.Event()
    calls: list[str] = []

    def handle(event: Event) -> None:
        calls.append(event.raw["n"])
        if event.raw["n"] == "slow":
            let_go.wait(PATIENCE_SECONDS)
        elif len(calls) == 1:
            raise RetryLater(60)

    inbox = opened(clock=lambda: clock)
    served(inbox, handle)
    inbox.put(delivery("later"))
    until(lambda: row(path)[:2] == ("waiting", 1))
    inbox.put(delivery("slow"))
    until(lambda: "slow" in calls)

    clock += jump
    until(lambda: states(path)["later"] == "done")
    inbox.put(delivery("new"))
    until(lambda: states(path)["new"] == "done")
    clock -= jump
    let_go.set()
    until(lambda: settled(path))
    assert sorted(calls) == ["later", "later", "new", "slow"]


def test_what_is_done_is_deleted_after_the_retention_and_nothing_else(
    opened: Opened, path: Path
) -> None:
    clock = 1_000_000.0

    def handle(event: Event) -> None:
        if event.raw["n"] == "fails":
            raise ValueError

    inbox = opened(clock=lambda: clock, window=600, retention=1000, max_attempts=1)
    served(inbox, handle)
    for key in ("done", "fails"):
        inbox.put(delivery(key, received_at=clock))
    until(lambda: settled(path))
    clock += 999
    inbox.put(delivery("younger", received_at=clock))
    until(lambda: settled(path))
    assert inbox.put(delivery("done", received_at=clock)) == "duplicate"
    clock += 2
    inbox.put(delivery("youngest", received_at=clock))
    until(lambda: set(states(path)) == {"fails", "younger", "youngest"})
    assert query(path, "SELECT count(*) FROM karla_content") == [(3,)]
    assert inbox.put(delivery("done", received_at=clock)) == "new"
    until(lambda: settled(path))


def test_a_clock_that_leaps_ahead_deletes_nothing_before_its_time(
    opened: Opened, path: Path
) -> None:
    clock = 1_000_000.0
    inbox = opened(clock=lambda: clock, window=600)
    served(inbox, lambda event: None)
    inbox.put(delivery(received_at=clock))
    until(lambda: settled(path))
    clock += 8 * 86_400
    await_beats(path)
    assert inbox.put(delivery(received_at=clock)) == "duplicate"


def test_where_nothing_comes_any_more_what_is_done_is_deleted_as_well(
    opened: Opened, path: Path
) -> None:
    passed = 0.0
    seconds = time.monotonic
    worker = {"monotonic": lambda: seconds() + passed}
    inbox = opened(clock=lambda: 1_000_000.0 + passed, window=600, worker=worker)
    served(inbox, lambda event: None)
    inbox.put(delivery(received_at=1_000_000.0))
    until(lambda: settled(path))
    passed += 601
    until(lambda: states(path) == {})


def test_what_was_done_is_deleted_in_time_however_often_the_worker_is_started_anew(
    opened: Opened, path: Path
) -> None:
    passed = 0.0

    def restart(*, monotonic: float) -> SQLiteInbox:
        worker = {"monotonic": lambda: monotonic}
        inbox = opened(clock=lambda: 1_000_000.0 + passed, window=600, worker=worker)
        served(inbox, lambda event: None)
        inbox.start()
        return inbox

    inbox = restart(monotonic=5_000.0)
    inbox.put(delivery(received_at=1_000_000.0))
    until(lambda: settled(path))
    inbox.close()

    def proved_after(seconds: float, *, monotonic: float) -> float:
        nonlocal passed
        passed += seconds
        inbox = restart(monotonic=monotonic)
        until(lambda: query(path, "SELECT monotonic FROM karla_time") == [(monotonic,)])
        inbox.close()
        ((proved,),) = query(path, "SELECT day FROM karla_time")
        return float(proved)

    assert proved_after(0, monotonic=5_001.0) == 1_000_000
    assert proved_after(300, monotonic=5_301.0) == 1_000_300
    # The machine was started anew: what went by before is not counted.
    assert proved_after(100, monotonic=50.0) == 1_000_300
    assert proved_after(290, monotonic=340.0) == 1_000_590
    assert states(path) == {"one": "done"}
    assert proved_after(11, monotonic=351.0) == 1_000_601
    assert states(path) == {}


# -- one at a time


def test_deliveries_of_one_lane_run_one_at_a_time_and_in_order(opened: Opened, path: Path) -> None:
    lock = threading.Lock()
    running: set[str] = set()
    order: dict[str, list[str]] = {"a": [], "b": []}
    failed_once: set[str] = set()

    def handle(event: Event) -> None:
        key = event.raw["n"]
        with lock:
            assert key[0] not in running, "two of one lane at once"
            running.add(key[0])
        time.sleep(0.002)
        with lock:
            running.discard(key[0])
            if key not in failed_once and key[1:] == "3":
                failed_once.add(key)
                raise ValueError
            order[key[0]].append(key)

    first = opened(workers=4, serial_by=lambda event: event.raw["n"][0])
    second = opened(workers=4, serial_by=lambda event: event.raw["n"][0])
    served(first, handle)
    served(second, handle)
    keys = [f"{lane}{number}" for number in range(15) for lane in "ab"]
    for key in keys:
        first.put(delivery(key))
    second.start()
    until(lambda: settled(path))
    assert set(states(path).values()) == {"done"}
    assert order == {lane: [key for key in keys if key[0] == lane] for lane in "ab"}


def test_the_next_of_a_lane_is_not_polled_for(opened: Opened, path: Path) -> None:
    inbox = opened(serial_by=lambda event: "one", worker={"poll": 3600})
    for number in range(20):
        inbox.put(delivery(str(number)))
    served(inbox, lambda event: None)
    inbox.start()
    until(lambda: settled(path))


def test_what_has_no_lane_runs_side_by_side(opened: Opened, path: Path) -> None:
    meeting = threading.Barrier(2, timeout=PATIENCE_SECONDS)
    inbox = opened(workers=2, serial_by=by_subject)
    served(inbox, lambda event: meeting.wait())
    inbox.put(delivery("one"))
    inbox.put(delivery("two"))
    until(lambda: settled(path))
    assert query(path, "SELECT DISTINCT lane FROM karla_inbox") == [(None,)]


def test_the_subject_is_the_shipment_or_the_claim(opened: Opened, path: Path) -> None:
    inbox = opened(workers=0, serial_by=by_subject)
    for name in ("shipment_delivered", "claim_created"):
        inbox.put(delivery(name, body=samples.read(name)))
    inbox.put(delivery("unreadable", body=b"{", problem="invalid_json"))
    lanes = [lane and lane.split()[0] for (lane,) in query(path, "SELECT lane FROM karla_inbox")]
    assert lanes == ["shipment", "claim", None]


# -- a file that fails when a handler's effect is to be committed


def failing_commit(session: Session) -> None:
    raise sqlite3.OperationalError("made to fail")


def failing_apply(settlement: Settlement, connection: object, now: float) -> bool:
    raise sqlite3.OperationalError("made to fail")


@pytest.mark.parametrize("what", ["commit", "mark"])
def test_an_effect_that_cannot_be_committed_is_a_failed_attempt(
    opened: Opened, path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    query(path, "CREATE TABLE effects (key)")
    calls = 0

    def handle(event: Event) -> None:
        nonlocal calls
        calls += 1
        write_effect(event)
        if calls == 1 and what == "commit":
            monkeypatch.setattr(Session, "commit", failing_commit)
        elif calls == 1:
            monkeypatch.setattr(Settlement, "apply", failing_apply)

    original = Attempts._failed  # pyright: ignore[reportPrivateUsage]

    def failed(attempts: Attempts, *arguments: Any) -> Settlement:
        monkeypatch.undo()
        return original(attempts, *arguments)

    inbox = opened(workers=1)
    served(inbox, handle)
    monkeypatch.setattr(Attempts, "_failed", failed)
    inbox.put(delivery())
    until(lambda: settled(path))
    assert row(path)[:2] == ("done", 2)
    assert effects(path) == ["one"]


def test_a_store_that_fails_is_named_in_the_list(opened: Opened, path: Path) -> None:
    inbox = opened(max_attempts=1)
    served(inbox, raising(StorageError("karla.db: the disk is full")))
    inbox.put(delivery())
    until(lambda: settled(path))
    assert row(path) == ("failed", 1, "karla.db: the disk is full")


def test_a_worker_can_be_stopped_though_its_file_fails(opened: Opened, path: Path) -> None:
    inbox = opened()
    served(inbox, lambda event: None)
    inbox.put(delivery())
    inbox.start()  # without effect: it runs
    until(lambda: settled(path))
    remove(path)
    path.mkdir()
    assert inbox.stop()
    inbox.start()
    assert inbox.stop()
    path.rmdir()
