from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from karla_receiver import ConfigurationError, Verifier
from karla_receiver.checks import printable
from karla_receiver.explain import explain
from karla_receiver.idempotency import MemoryStore, SQLiteStore
from karla_receiver.inbox import SQLiteInbox
from karla_receiver.registration import KarlaAPI, Retries

NUMBERS: dict[str, Callable[[Any, str], object]] = {
    "tolerance": lambda number, file: Verifier("a secret", tolerance=number),
    "clock": lambda number, file: Verifier("a secret", clock=lambda: number),
    "lease of an inbox": lambda number, file: SQLiteInbox(file, lease=number),
    "lease of a store": lambda number, file: SQLiteStore(file, lease=number),
    "window": lambda number, file: MemoryStore(window=number),
    "now": lambda number, file: explain(b"", None, "a secret", now=number),
    "first wait": lambda number, file: Retries(first_wait=number),
    "longest wait": lambda number, file: Retries(longest_wait=number),
    "timeout": lambda number, file: KarlaAPI("shop", "key", timeout=number),
}


@pytest.mark.parametrize(
    "number",
    [10**400, -(10**400), 10**5000, math.nan, math.inf, True, "5"],
    ids=["beyond a float", "below", "beyond what is written", "nan", "inf", "bool", "text"],
)
@pytest.mark.parametrize("make", NUMBERS.values(), ids=NUMBERS)
def test_a_number_of_seconds_that_no_float_can_be_is_refused(
    make: Callable[[Any, str], object], number: Any, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError):
        make(number, str(tmp_path / "karla.db"))


@pytest.mark.parametrize(
    ("text", "shown", "shown_in_lines"),
    [
        ("Müller, 配送", "Müller, 配送", "Müller, 配送"),
        ("a\x1b[31mb\x9b", "a\\x1b[31mb\\x9b", "a\\x1b[31mb\\x9b"),
        ("one\ntwo\r", "one\\ntwo\\r", "one\ntwo\\r"),
        ("\u202eback\u2028\ud800", "\\u202eback\\u2028\\ud800", "\\u202eback\\u2028\\ud800"),
        ("", "", ""),
    ],
)
def test_foreign_text_moves_no_cursor(text: str, shown: str, shown_in_lines: str) -> None:
    assert printable(text) == shown
    assert printable(text, keeps_lines=True) == shown_in_lines
