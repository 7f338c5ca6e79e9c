"""What the pages tell of the benchmarks, and the rule that fails a run when it must."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from benchmarks import __main__ as program
from benchmarks import resources
from benchmarks.deliveries import BODY, BODY_5_KB, SECRET, body_of, by_hand, hash_floor
from benchmarks.tables import (
    Row,
    Run,
    Table,
    figure,
    formatted,
    gross_losses,
    recorded_ratios,
)
from karla_receiver import Receiver, ShipmentEvent, Verifier, parse_event, sign

FOLDER = Path(__file__).parents[1]
RECORD = (FOLDER / "benchmarks" / "recorded.json").read_bytes()
PAGE = (FOLDER / "docs" / "speed.md").read_text()


@pytest.mark.parametrize(
    ("row", "is_met"),
    [
        (figure(1.05, "x", 1.054), True),
        (figure(1.05, "x", 1.056), False),
        (figure(0.95, "x", 0.96, is_speed=True), True),
        (figure(0.95, "x", 0.94, is_speed=True), False),
        (figure(None, "x", 99.0), True),
    ],
)
def test_a_goal_is_met_or_shown_as_missed(row: Row, is_met: bool) -> None:
    assert row.is_met is is_met
    assert ("missed" in formatted(Table("x", "X", (row,)))) is not is_met


@pytest.mark.parametrize(
    ("row", "recorded", "is_lost"),
    [
        (figure(1.05, "x", 2.09), None, False),
        (figure(1.05, "x", 2.11), None, True),
        (figure(1.05, "x", 2.5), 1.3, False),  # recorded worse than its goal: that counts
        (figure(None, "x", 3.1), 1.5, True),
        (figure(None, "x", 1e9), None, False),  # nothing to compare with
        (figure(0.9, "x", 0.44, is_speed=True), None, True),
    ],
)
def test_a_ratio_twice_as_bad_as_recorded_is_a_gross_loss(
    row: Row, recorded: float | None, is_lost: bool
) -> None:
    known = {} if recorded is None else {"x": recorded}
    assert bool(gross_losses([Table("x", "X", (row,))], known)) is is_lost


@pytest.mark.parametrize(
    ("measured", "status"), [([1.0], 0), ([50.0, 50.0, 1.0], 0), ([50.0, 50.0, 50.0], 1)]
)
def test_the_short_form_fails_for_what_is_a_gross_loss_each_time(
    measured: list[float],
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = "receive"
    assert name in recorded_ratios(RECORD)
    tables = iter([Table("receive", "X", (figure(2.1, name, best),)) for best in measured])
    monkeypatch.setattr(program, "_run", lambda name, rounds: next(tables))
    assert program.main(["--short", "--only", "receive"]) == status
    printed = capsys.readouterr().out
    assert f"{status} gross losses" in printed
    assert f"| {name} | {measured[-1]:.2f} |" in printed
    assert next(tables, None) is None


def test_what_is_recorded_takes_the_place_of_what_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "recorded.json").write_bytes(RECORD)
    (tmp_path / "speed.md").write_text(PAGE)
    monkeypatch.setattr(program, "_RECORD", tmp_path / "recorded.json")
    monkeypatch.setattr(program, "_PAGE", tmp_path / "speed.md")
    old = next(table for table in msgspec.json.decode(RECORD, type=Run).tables if table.rows)
    new = Table(old.name, old.title, (figure(None, "measured anew", 7.25),))
    monkeypatch.setattr(program, "_run", lambda name, rounds: new)

    assert program.main(["--record", "--only", old.name]) == 0
    ratios = recorded_ratios((tmp_path / "recorded.json").read_bytes())
    others = recorded_ratios(RECORD).keys() - {row.name for row in old.rows}
    assert ratios["measured anew"] == 7.25
    assert ratios.keys() == others | {"measured anew"}
    assert (tmp_path / "speed.md").read_text() == PAGE.replace(formatted(old), formatted(new))


def test_a_benchmark_that_needs_more_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(vars(program)["_BENCHMARKS"], "serving", "absent_here:x")
    with pytest.raises(SystemExit, match="serving needs absent_here: pip install --group bench"):
        program.main(["--only", "serving"])


def test_what_is_measured_with_is_genuine() -> None:
    for size in (256, 1024, 65_536):
        body = body_of(size)
        assert len(body) == size
        assert "ü" in body.decode()
        assert isinstance(parse_event(body).raw["names"], str)
        assert Verifier(SECRET).verify(body, sign(body, SECRET)).secret_index == 0
    assert isinstance(parse_event(BODY), ShipmentEvent)
    assert 1948 <= len(BODY) <= 2148
    assert len(BODY_5_KB) == pytest.approx(5120, rel=0.05)
    assert isinstance(parse_event(BODY_5_KB), ShipmentEvent)
    assert hash_floor(BODY)() is True
    assert isinstance(by_hand(BODY)(), ShipmentEvent)


def test_the_page_shows_the_record_as_it_is() -> None:
    run = msgspec.json.decode(RECORD, type=Run)
    assert {table.name for table in run.tables} == set(vars(program)["_BENCHMARKS"])
    for table in run.tables:
        assert formatted(table) in PAGE


@pytest.mark.slow
def test_the_page_tells_what_each_hostile_input_is_answered() -> None:
    page = (FOLDER / "docs" / "what-is-accepted.md").read_text()
    section = page.partition("## What hostile input costs")[2].partition("##")[0]
    told = re.findall(r"^\| (.+?) \| `?(\w+)`? \|(?: [\d.,]+ \|){3}$", section, re.MULTILINE)
    receiver = Receiver(SECRET)

    assert told == [
        (name, str(receiver.receive(make()).reason or 200))
        for name, make in resources.MAKERS.items()
    ]
