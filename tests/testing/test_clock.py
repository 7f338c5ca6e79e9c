from __future__ import annotations

import time

from karla_receiver.testing import SettableClock


def test_a_clock_stands_still_until_it_is_moved() -> None:
    clock = SettableClock(1_700_000_000)
    assert clock() == clock() == 1_700_000_000

    clock.advance(1.5)
    assert clock() == 1_700_000_001.5
    clock.advance(-2)
    assert clock() == 1_699_999_999.5
    clock.set(5)
    assert clock() == 5
    assert repr(clock) == "SettableClock(5.0)"


def test_a_clock_starts_at_the_present_in_whole_seconds() -> None:
    before = int(time.time())
    shown = SettableClock()()

    assert before <= shown <= time.time()
    assert shown == int(shown)
