"""The measuring itself: arithmetic shown on known samples, and a rule that fails when it must."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from benchmarks import __main__ as program
from benchmarks import resources
from benchmarks.deliveries import BODY, SECRET, body_of, hash_floor
from benchmarks.slices import Samples, added, ratio, time_slices
from benchmarks.tables import (
    Row,
    Run,
    Table,
    at_least,
    at_most,
    by_medians,
    figure,
    formatted,
    gross_losses,
    recorded_ratios,
)
from karla_receiver import Receiver, ShipmentEvent, Verifier, parse_event, sign

FOLDER = Path(__file__).parents[1]
RECORD = (FOLDER / "benchmarks" / "recorded.json").read_bytes()


def test_the_ratio_is_of_the_least_and_the_median_is_of_neighbours() -> None:
    base = Samples([1.0, 10.0, 2.0])
    subject = Samples([3.0, 20.0, 2.0])
    assert ratio(subject, base) == (2.0, 2.0)
    assert ratio(Samples([3.0, 50.0, 4.0]), base) == (3.0, 3.0)


def test_what_is_added_is_the_difference_of_the_least_and_of_each_pair() -> None:
    extra = added(Samples([5.0, 9.0]), Samples([2.0, 1.0]))
    assert extra.seconds == [4.0, 3.0, 8.0]


def test_slices_take_turns_and_what_calling_costs_is_taken_off() -> None:
    turns: list[str] = []

    def spend(name: str, count: int) -> Callable[[], object]:
        def work() -> int:
            turns.append(name)
            return sum(range(count))

        return work

    taken = time_slices({"little": spend("little", 10_000), "much": spend("much", 100_000)}, 7)
    assert [len(samples.seconds) for samples in taken.values()] == [7, 7]
    assert taken["much"].best > 2 * taken["little"].best > 0
    measured = turns[len(turns) // 2 :]
    assert {"little", "much"} == set(measured)
    nothing = time_slices({"nothing": lambda: None}, 50)["nothing"]
    assert nothing.best < taken["little"].best / 10


def test_costs_and_speeds_point_in_opposite_directions() -> None:
    ours, theirs = Samples([2.0, 2.0]), Samples([6.0, 6.0])
    cost, speed = at_most(None, "cost", ours, theirs), at_least(None, "speed", ours, theirs)
    assert cost.best == pytest.approx(1 / 3)
    assert speed.best == pytest.approx(3)
    assert (speed.cost, speed.base) == (2e6, 6e6)
    difference = by_medians(2.5, "added", Samples([9.0, 2.0, 2.0]), Samples([3.0, 1.0, 1.0]))
    assert (difference.best, difference.median) == (2.0, 3.0)


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
        (figure(1.05, "x", 2.7), 1.3, True),
        (figure(1.05, "x", 2.11), 0.5, True),
        (figure(None, "x", 3.1), 1.5, True),
        (figure(None, "x", 2.9), 1.5, False),
        (figure(None, "x", 1e9), None, False),  # nothing to compare with
        (figure(0.9, "x", 0.46, is_speed=True), None, False),
        (figure(0.9, "x", 0.44, is_speed=True), None, True),
        (figure(0.9, "x", 0.44, is_speed=True), 0.8, False),
        (Row(name="x", goal=1.0, best=2.5, median=1.5), None, False),  # not in both
        (Row(name="x", goal=1.0, best=1.5, median=2.5), None, False),
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
    tmp_path: Path,
) -> None:
    name = "receive"
    assert name in recorded_ratios(RECORD)
    tables = iter([Table("receive", "X", (figure(2.1, name, best),)) for best in measured])
    monkeypatch.setattr(program, "_run", lambda name, rounds: next(tables))
    path = tmp_path / "run.json"
    assert program.main(["--short", "--only", "receive", "--json", str(path)]) == status
    assert f"{status} gross losses" in capsys.readouterr().out
    assert recorded_ratios(path.read_bytes()) == {name: measured[-1]}
    assert next(tables, None) is None


def test_only_the_short_form_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table("receive", "X", (figure(2.1, "receive", 50.0),))
    monkeypatch.setattr(program, "_run", lambda name, rounds: table)
    assert program.main(["--only", "receive"]) == 0


def test_a_benchmark_that_needs_more_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(vars(program)["_BENCHMARKS"], "peers", ("absent_here:x", "peers"))
    with pytest.raises(SystemExit, match="pip install --group peers"):
        program.main(["--only", "peers"])


def test_what_is_measured_with_is_genuine() -> None:
    for size in (256, 1024, 65_536):
        body = body_of(size)
        assert len(body) == size
        assert "ü" in body.decode()
        assert isinstance(parse_event(body).raw["names"], str)
        assert Verifier(SECRET).verify(body, sign(body, SECRET)).secret_index == 0
    assert isinstance(parse_event(BODY), ShipmentEvent)
    assert 1948 <= len(BODY) <= 2148
    assert hash_floor(BODY)() is True


def test_the_page_shows_the_record_as_it_is() -> None:
    page = (FOLDER / "docs" / "speed.md").read_text()
    run = msgspec.json.decode(RECORD, type=Run)
    assert {table.name for table in run.tables} == set(vars(program)["_BENCHMARKS"])
    for table in run.tables:
        if table.name != "growth":  # which is plotted
            assert formatted(table) in page


def test_the_page_tells_what_each_hostile_input_is_answered() -> None:
    page = (FOLDER / "docs" / "what-is-accepted.md").read_text()
    section = page.partition("## What hostile input costs")[2].partition("##")[0]
    told = re.findall(r"^\| (.+?) \| `?(\w+)`? \|(?: [\d.,]+ \|){3}$", section, re.MULTILINE)
    receiver = Receiver(resources.SECRET)

    assert told == [
        (name, str(receiver.receive(make()).reason or 200))
        for name, make in resources.MAKERS.items()
    ]
