from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from karla_receiver import ConfigurationError, Receiver, Request, sign
from karla_receiver.errors import StorageError
from karla_receiver.inbox import Inbox, Novelty, SQLiteInbox
from karla_receiver.inbox.rows import Put
from tests.inbox.stock import delivery, in_threads, query, states
from tests.signing import SECRET
from tests.waiting import PATIENCE_SECONDS


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "karla.db"


@pytest.fixture(name="inbox")
def _inbox(path: Path) -> Iterator[SQLiteInbox]:
    inbox = SQLiteInbox(path)
    yield inbox
    inbox.close()


def put_async(inbox: SQLiteInbox, key: str) -> Novelty:
    return asyncio.run(inbox.put_async(delivery(key)))


def put(inbox: SQLiteInbox, key: str) -> Novelty:
    return inbox.put(delivery(key))


either = pytest.mark.parametrize("put", [put, put_async])


@either
def test_a_delivery_is_new_once(inbox: SQLiteInbox, put: Callable[..., Novelty]) -> None:
    assert put(inbox, "a") == "new"
    assert put(inbox, "a") == "duplicate"
    assert put(inbox, "b") == "new"


def test_an_occurrence_in_other_bytes_is_told(path: Path) -> None:
    first, second = SQLiteInbox(path, endpoint="first"), SQLiteInbox(path, endpoint="second")
    occurrence = "0123456789abcdef"
    for inbox in (first, second):
        assert inbox.put(delivery("a", occurrence=occurrence + "0")) == "new"
        assert inbox.put(delivery("b", occurrence=occurrence + "0")) == "near_duplicate"
        assert inbox.put(delivery("b", occurrence=occurrence + "0")) == "duplicate"
        assert inbox.put(delivery("c", occurrence=occurrence + "1")) == "new"
        for number in range(2):  # of which nothing is known
            assert inbox.put(delivery(f"{number}", occurrence="", problem="x")) == "new"
        inbox.close()


def test_an_occurrence_is_found_by_an_index(inbox: SQLiteInbox, path: Path) -> None:
    values = ("default", "o", "o", 1)
    plan = [row[3] for row in query(path, f"EXPLAIN QUERY PLAN {vars(Put)['_NEAR']}", *values)]
    assert len(plan) == 1
    assert "USING INDEX karla_inbox_occurrence (endpoint=? AND <expr>=?)" in plan[0]


def test_it_is_kept_byte_for_byte(inbox: SQLiteInbox, path: Path) -> None:
    lines = (("karla-signature", "t=1,v1=\xe9"), ("karla-signature", "v1=2"))
    inbox.put(delivery("a", body=bytes(range(256)), headers=lines, received_at=12.5))

    ((headers, body, received_at, ref, group, occurrence),) = query(
        path,
        "SELECT headers, body, received_at, ref, event_group, occurrence"
        " FROM karla_inbox JOIN karla_content USING (id)",
    )
    assert body == bytes(range(256))
    assert headers.decode() == '[["karla-signature","t=1,v1=\xe9"],["karla-signature","v1=2"]]'
    assert (received_at, ref, group) == (12.5, "parcels/sent", "parcel")
    assert occurrence == "occurrence of a"


def test_what_is_no_event_is_kept_apart(inbox: SQLiteInbox, path: Path) -> None:
    assert (
        inbox.put(delivery("bad", body=b"{", ref=None, event_group=None, problem="invalid_json"))
        == "new"
    )
    assert query(path, "SELECT state, note FROM karla_inbox") == [("quarantined", "invalid_json")]


def test_two_endpoints_share_a_file_and_no_key(path: Path) -> None:
    first, second = SQLiteInbox(path, endpoint="first"), SQLiteInbox(path, endpoint="second")
    assert first.put(delivery()) == "new"
    assert second.put(delivery()) == "new"
    assert second.put(delivery()) == "duplicate"
    first.close()
    second.close()


def test_it_lives_in_the_application_s_own_database(path: Path) -> None:
    query(path, "CREATE TABLE orders (id)")
    inbox = SQLiteInbox(path)
    inbox.put(delivery())
    inbox.close()
    assert query(path, "SELECT count(*) FROM orders") == [(0,)]


@pytest.mark.parametrize("count", [1, 8, 64])
def test_threads_lose_nothing_and_see_each_key_once(path: Path, count: int) -> None:
    inbox = SQLiteInbox(path)
    new: list[Novelty] = []
    in_threads(count, lambda _: new.extend(inbox.put(delivery(str(n))) for n in range(20)))
    inbox.close()

    assert len(new) == 20 * count
    assert new.count(Novelty.NEW) == 20
    assert len(states(path)) == 20


def test_tasks_and_threads_share_commits(path: Path) -> None:
    inbox = SQLiteInbox(path)

    async def put_many(name: int) -> list[Novelty]:
        keys = [f"{name % 2}-{number}" for number in range(300)]
        return await asyncio.gather(*[inbox.put_async(delivery(key)) for key in keys])

    new: list[Novelty] = []
    in_threads(4, lambda name: new.extend(asyncio.run(put_many(name))))
    inbox.close()
    assert new.count(Novelty.NEW) == len(states(path)) == 600


def put_fifty(inbox: SQLiteInbox, name: int) -> None:
    for number in range(50):
        assert inbox.put(delivery(f"{name}-{number}")) == "new"
        assert inbox.put(delivery(f"{name}-{number}")) == "duplicate"


def put_many(inbox: SQLiteInbox, name: int) -> None:
    for number in range(100):
        assert inbox.put(delivery(f"{name}-{number}")) == "new"


@pytest.mark.slow
def test_four_processes_write_one_file_and_lose_nothing(path: Path) -> None:
    run_forks(*[(put_many, SQLiteInbox(path), name) for name in range(4)])
    assert len(states(path)) == 400
    assert query(path, "PRAGMA integrity_check") == [("ok",)]


def killed_if_it_hangs(function: Callable[..., object], *arguments: object) -> None:
    signal.alarm(3 * round(PATIENCE_SECONDS))
    function(*arguments)


def run_forks(*calls: tuple[Any, ...]) -> None:
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=killed_if_it_hangs, args=call) for call in calls]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * len(children)


def test_an_inbox_in_use_may_be_forked(inbox: SQLiteInbox, path: Path) -> None:
    in_threads(4, lambda name: put_fifty(inbox, name))
    put_async(inbox, "from a loop")

    run_forks((put_fifty, inbox, 7), (put_async, inbox, "from a child's loop"))

    assert inbox.put(delivery("afterwards")) == "new"
    assert inbox.put(delivery("7-49")) == "duplicate"
    assert len(states(path)) == 253


def test_a_relative_path_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    inbox = SQLiteInbox("karla.db")
    (tmp_path / "elsewhere").mkdir()
    os.chdir("elsewhere")
    inbox.put(delivery())
    inbox.close()
    assert states(tmp_path / "karla.db") == {"one": "waiting"}


def test_a_receiver_answers_200_for_what_is_kept(inbox: SQLiteInbox, path: Path) -> None:
    receiver = Receiver(SECRET, inbox=inbox)
    fitting: Inbox = inbox
    assert fitting.key is None
    for body, status in ((b'{"event_group":"x"}', 200), (b"[]", 400)):
        signature = sign(body, SECRET)
        request = Request("POST", {"Karla-Signature": signature}, body)
        assert receiver.receive(request).status == status
        assert receiver.receive(request).status == status
    assert sorted(states(path).values()) == ["quarantined", "waiting"]


def test_an_inbox_has_one_receiver(inbox: SQLiteInbox) -> None:
    Receiver(SECRET, inbox=inbox)
    with pytest.raises(ConfigurationError, match="an inbox of its own, with another endpoint"):
        Receiver(SECRET, inbox=inbox)


def test_it_names_itself(inbox: SQLiteInbox, path: Path) -> None:
    assert repr(inbox) == f"<SQLiteInbox {str(path)!a} endpoint='default'>"


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "path None": ({"path": None}, "expected the path of a file, as in 'karla.db', not None"),
    "path empty": ({"path": ""}, "expected the path of a file"),
    "path bytes": ({"path": b"karla.db"}, "expected the path of a file"),
    "in memory": ({"path": ":memory:"}, "on a local disk, not ':memory:'"),
    "no directory": ({"path": "/nowhere/at/all/karla.db"}, "no directory /nowhere/at/all"),
    "a directory": ({"path": "."}, "it cannot be opened"),
    "window short": ({"window": 599}, "captured delivery can be sent again, not 599"),
    "window text": ({"window": "7d"}, "window is a number of seconds"),
    "window infinite": ({"window": float("inf")}, "window is a number of seconds"),
    "retention short": ({"retention": 600}, "the window of 604800 or more, not 600"),
    "workers": ({"workers": -1}, "workers is a whole number, 0 to 256, not -1"),
    "workers true": ({"workers": True}, "workers is a whole number"),
    "attempts": ({"max_attempts": 0}, "max_attempts is a whole number, 1 to 1000"),
    "lease": ({"lease": 0}, "lease is a number of seconds, 1 to 86400, not 0"),
    "first_retry": ({"first_retry": -1}, "first_retry is a number of seconds, 0 to 86400"),
    "longest_retry": ({"longest_retry": 1e9}, "longest_retry is a number of seconds"),
    "endpoint": ({"endpoint": ""}, "endpoint is a name of 1 to 64 letters"),
    "key": ({"key": "body"}, "key is a function that takes an event and returns text"),
    "serial_by": ({"serial_by": 1}, "serial_by is a function"),
    "clock": ({"clock": 1}, "clock must be a function that returns unix seconds"),
    "clock of dates": ({"clock": lambda: "now"}, "clock must return unix seconds as a number"),
    "window beyond floats": ({"window": 10**400}, "window is a number of seconds"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_option_is_refused_when_the_inbox_is_made(path: Path, case: str) -> None:
    changes, message = WRONG[case]
    options: dict[str, Any] = {"path": path, **changes}
    with pytest.raises(ConfigurationError) as refused:
        SQLiteInbox(options.pop("path"), **options)
    assert message in str(refused.value)


def test_a_missing_value_is_an_error_and_no_copy(inbox: SQLiteInbox) -> None:
    with pytest.raises(StorageError, match="NOT NULL"):
        inbox.put(delivery(received_at=None))
    assert inbox.put(delivery()) == "new"


def test_a_lane_that_is_no_text_is_refused_before_it_is_queued(path: Path) -> None:
    odd: Any = lambda event: {"id": 1}  # noqa: E731
    inbox = SQLiteInbox(path, serial_by=odd)
    with pytest.raises(ConfigurationError, match="serial_by must return a text or None, not dict"):
        inbox.put(delivery())
    inbox.close()
