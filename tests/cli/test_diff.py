"""What differs between two recorded deliveries."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from karla_receiver import samples
from karla_receiver.cli.diff import Difference
from karla_receiver.cli.recording import Recorded
from tests.cli.running import run

BODY = samples.read("shipment_delivered")
EVENT = json.loads(BODY)
HEADERS = [("Host", "shop.example"), ("Karla-Signature", "t=1,v1=ab")]

Record = Callable[..., str]


@pytest.fixture(name="record")
def _record(tmp_path: Path) -> Record:
    """Return what records deliveries in a file, and returns its name."""

    def record(*deliveries: Recorded, name: str = "all.jsonl") -> str:
        path = tmp_path / name
        path.write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in deliveries))
        return str(path)

    return record


def delivery(body: bytes | str = BODY, **changes: Any) -> Recorded:
    content = body.encode() if isinstance(body, str) else body
    facts: dict[str, Any] = {"received_at": 1_700_000_000, "headers": HEADERS, "status": 200}
    return Recorded(**{**facts, **changes}, body=content)


def found(record: Record, a: Recorded, b: Recorded) -> list[tuple[Any, ...]]:
    file = record(a, b)
    told = run("diff", f"{file}:1", f"{file}:2", "--json")
    rows = [
        (each["part"], each["path"], each.get("a", "absent"), each.get("b", "absent"))
        for each in told.lines
    ]
    assert told.status == (1 if rows else 0)
    shown = run("diff", f"{file}:1", f"{file}:2")
    assert shown.status == told.status
    return rows


def changed(**changes: Any) -> str:
    return json.dumps({**EVENT, **changes})


def test_equal_deliveries_exit_with_0(record: Record) -> None:
    file = record(delivery(), delivery(received_at=1_800_000_000, status=401, reason="no_v1"))
    ended = run("diff", f"{file}:1", f"{file}:2")
    assert ended.status == 0
    assert ended.output.splitlines() == [
        f"A  {file}:1, 2023-11-14 22:13:20Z, 1874 bytes: 200",
        f"B  {file}:2, 2027-01-15 08:00:00Z, 1874 bytes: no_v1",
        "No difference.",
    ]
    assert run("diff", f"{file}:1", f"{file}:2", "--json").output == ""


def test_one_delivery_in_a_file_needs_no_line(record: Record) -> None:
    a, b = record(delivery(), name="a"), record(delivery(method="PUT"), name="b")
    assert run("diff", a, a).status == 0
    assert run("diff", a, b).status == 1


def test_standard_input_is_one_of_both(record: Record) -> None:
    file = record(delivery())
    line = Path(file).read_bytes()
    assert run("diff", file, "-", stdin=line).status == 0
    assert run("diff", "-", file, stdin=b"\n" + line).status == 0


def test_a_file_whose_name_ends_in_a_number_is_found(record: Record) -> None:
    file = record(delivery(), name="monday:7")
    assert run("diff", file, f"{file}:1").status == 0


@pytest.mark.parametrize(
    ("a", "b", "told"),
    [
        ("-", "-", "standard input is read once: write a file for A or B"),
        ("two", "one", "two has 2 deliveries: write which one, as in two:3"),
        ("one:2", "one", "one:2: there is no delivery in line 2, the last one is in line 1"),
        ("one:0", "one", "one:0: there is no delivery in line 0, the last one is in line 1"),
        ("none", "one", "none: No such file or directory"),
        ("none:1", "one", "none: No such file or directory"),
        ("one", "diary", "diary, line 1 is no recorded delivery"),
        ("one", "empty", "empty is empty"),
    ],
)
def test_unusable_input_exits_with_2(
    a: str, b: str, told: str, record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    record(delivery(), name="one")
    two = Path(record(delivery(), delivery(), name="two"))
    two.write_bytes(two.read_bytes().replace(b"\n", b"\n\n", 1))
    Path("diary").write_text("dear diary")
    Path("empty").touch()
    ended = run("diff", a, b)
    assert (ended.status, ended.output) == (2, "")
    assert told in ended.told


def test_method_and_path(record: Record) -> None:
    assert found(record, delivery(path="/a", method="PUT"), delivery(path="/b")) == [
        ("request", "method", "PUT", "POST"),
        ("request", "path", "/a", "/b"),
    ]


def test_headers_by_their_names_in_any_case(record: Record) -> None:
    a = delivery(headers=[("Host", "x"), ("X-One", "1"), ("Both", "1"), ("both", "2")])
    b = delivery(headers=[("both", "1, 2"), ("HOST", "y"), ("x-two", "2")])
    assert found(record, a, b) == [
        ("header", "host", "x", "y"),
        ("header", "x-one", "1", "absent"),
        ("header", "x-two", "absent", "2"),
    ]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (changed(ref="a"), changed(ref="b"), [("ref", "a", "b")]),
        (changed(ref=None), changed(), [("ref", None, EVENT["ref"])]),
        (changed(new=1), changed(), [("new", 1, "absent")]),
        (changed(), changed(new=None), [("new", "absent", None)]),
        (changed(new=True), changed(new=1), [("new", True, 1)]),
        (changed(new=0), changed(new=False), [("new", 0, False)]),
        (
            changed(new={"a": [1, {"b": 2}]}),
            changed(new={"a": [1, {"b": 3}]}),
            [("new.a.1.b", 2, 3)],
        ),
        (changed(new=[1]), changed(new=[1, [2]]), [("new.1", "absent", [2])]),
        (changed(new=[]), changed(new={}), [("new", [], {})]),
        (changed(new=[1, 2]), changed(new=[2]), [("new.0", 1, 2), ("new.1", 2, "absent")]),
    ],
)
def test_fields_of_the_event_by_their_path(
    a: str, b: str, expected: list[tuple[Any, ...]], record: Record
) -> None:
    rows = [("event", *each) for each in expected]
    assert found(record, delivery(a), delivery(b)) == rows


def test_the_bytes_of_other_events_are_not_compared(record: Record) -> None:
    rows = found(record, delivery(changed(ref="a")), delivery(json.dumps(EVENT, indent=1)))
    assert {part for part, *_ in rows} == {"event"}


OBJECT = '{"event_group":"x","n":%s}'


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (
            '{"event_group":"x","n":{"c":1,"a":2}}',
            '{"event_group":"x","n":{"a":2,"c":1}}',
            [("keys of n", ["c", "a"], ["a", "c"])],
        ),
        (
            '{"event_group":"x","a":[{"c":1,"b":2}]}',
            '{"a":[{"b":2,"c":1}],"event_group":"x"}',
            [("keys of 2 objects", "not sorted", "sorted")],
        ),
        (
            '{"a":{"b":2,"c":1},"event_group":"x"}',
            '{"event_group":"x","a":{"c":1,"b":2}}',
            [("keys of 2 objects", "sorted", "not sorted")],
        ),
        (
            '{"a":{"b":2,"c":1},"event_group":"x"}',
            '{"event_group":"x","a":{"b":2,"c":1}}',
            [("keys of the event", ["a", "event_group"], ["event_group", "a"])],
        ),
        (
            '{"event_group":"x","a":{"b":2,"c":1}}',
            '{"a":{"c":1,"b":2},"event_group":"x"}',
            [
                ("keys of the event", ["event_group", "a"], ["a", "event_group"]),
                ("keys of a", ["b", "c"], ["c", "b"]),
            ],
        ),
        (OBJECT % 1, (OBJECT % 1).replace(",", ", "), [("blanks", [], [", "])]),
        (OBJECT % 1, f" {OBJECT % 1}\n", [("blanks", [], [" {", "}\n"])]),
        (OBJECT % 1, (OBJECT % 1).replace("}", "\n}"), [("blanks", [], ["\n}"])]),
        (OBJECT % "[{} ,1]", OBJECT % "[{}, 1]", [("blanks", [" ,"], [", "])]),
        (OBJECT % '"\\u00e4"', OBJECT % '"\u00e4"', [("text", '"\\u00e4"', '"\u00e4"')]),
        (
            OBJECT % '["\\/","\\/","/"]',
            OBJECT % '["/","/","/"]',
            [("text, 2 times", '"\\/"', '"/"')],
        ),
        (OBJECT % "1.0", OBJECT % "1", [("number", "1.0", "1")]),
        (
            OBJECT % "[1.50,2e0]",
            OBJECT % "[1.5,2]",
            [("number", "1.50", "1.5"), ("number", "2e0", "2")],
        ),
        (OBJECT % "[-0.0,true]", OBJECT % "[0,true]", [("number", "-0.0", "0")]),
        (
            '{"event_group":"x","b":1.0,"a":2}',
            '{"a":2.0,"event_group":"x","b":1}',
            [
                ("keys of the event", ["event_group", "b", "a"], ["a", "event_group", "b"]),
                ("number", "1.0", "1"),
                ("number", "2", "2.0"),
            ],
        ),
        (
            '{"event_group":"x","n":1,"n":2}',
            '{"event_group":"x","n":2}',
            [("from byte 23", 'vent_group":"x","n":1,"n":2}', 'vent_group":"x","n":2}')],
        ),
    ],
)
def test_how_equal_events_are_written(
    a: str, b: str, expected: list[tuple[Any, ...]], record: Record
) -> None:
    rows = [("bytes", *each) for each in expected]
    assert found(record, delivery(a), delivery(b)) == rows


@pytest.mark.parametrize("name", samples.names())
def test_every_sample_written_anew_is_told_by_its_style(name: str, record: Record) -> None:
    body = samples.read(name)
    anew = json.dumps(json.loads(body), indent=3, sort_keys=True)
    rows = found(record, delivery(body), delivery(anew))
    assert {part for part, *_ in rows} == {"bytes"}
    assert not any(path.startswith("from byte") for _, path, *_ in rows)


def test_bodies_that_are_no_events_are_compared_as_bytes(record: Record) -> None:
    assert found(record, delivery(b"no\xff1"), delivery(b"no\xff12")) == [
        ("bytes", "from byte 4", "no\\xff1", "no\\xff12"),
    ]
    assert found(record, delivery(b"[]"), delivery(b"{}")) == [("bytes", "from byte 0", "[]", "{}")]
    assert found(record, delivery(b"[]"), delivery())[0] == (
        ("event", "the body is", "no event", "an event")
    )


def test_rows_show_one_value_beside_the_other(record: Record) -> None:
    long = "x" * 90
    a = delivery(changed(a=1, b=f"{long}1", c="\x1b[31m\u202e", d={}), headers=[])
    b = delivery(changed(a="1", b=f"{long}2", c=":bomb:[red]"), headers=[("a\x1b", "\xe9\x9b")])
    file = record(a, b)
    lines = run("diff", f"{file}:1", f"{file}:2").output.splitlines()
    assert lines[2:] == [
        "Headers",
        '  a\\x1b: (absent) | "\xe9\\x9b"',
        "Event",
        '  a: 1 | "1"',
        f'  b: ...{"x" * 20}1" | ...{"x" * 20}2"',
        '  c: "\\u001b[31m\\u202e" | ":bomb:[red]"',
        "  d: {} | (absent)",
    ]


def test_long_values_are_cut(record: Record) -> None:
    file = record(delivery(changed(ref="x" * 100)), delivery(changed(ref="y")))
    shown = run("diff", f"{file}:1", f"{file}:2").output.splitlines()[-1]
    assert shown == f'  ref: "{"x" * 59}... | "y"'


def test_many_rows_are_cut_for_people_and_not_for_programs(record: Record) -> None:
    file = record(delivery(changed(n=[1] * 30)), delivery(changed(n=[2] * 30)))
    lines = run("diff", f"{file}:1", f"{file}:2").output.splitlines()
    assert lines[-1] == "  and 10 more: --json lists all"
    assert len(run("diff", f"{file}:1", f"{file}:2", "--json").lines) == 30


def test_texts_of_bytes_are_shown_as_they_are_written(record: Record) -> None:
    file = record(delivery(OBJECT % '"\\u00e4\x7f"'), delivery(OBJECT % '"\u00e4\x7f"'))
    shown = run("diff", f"{file}:1", f"{file}:2").output.splitlines()[-1]
    assert shown == '  text: "\\u00e4\\x7f" | "\u00e4\\x7f"'


def test_odd_recordings_are_described(record: Record) -> None:
    odd = delivery(b"{", received_at=1e300, status=None, is_whole=False)
    file = record(odd, delivery(b"{", reason="forged\x1b"))
    assert run("diff", f"{file}:1", f"{file}:2").output.splitlines()[:2] == [
        f"A  {file}:1, t=1e+300, 1 bytes, without the end: no answer",
        f"B  {file}:2, 2023-11-14 22:13:20Z, 1 bytes: forged\\x1b",
    ]


def test_the_help_says_that_recordings_hold_personal_data() -> None:
    assert "Recordings hold personal data" in run("diff", "--help").output


def test_a_repr_shows_no_value() -> None:
    difference = Difference("header", "karla-signature", "t=1,v1=ab", "t=2,v1=cd")
    assert repr(difference) == "<Difference in header: 'karla-signature'>"
