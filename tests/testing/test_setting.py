"""The table's cases, made for another secret, time and event."""

from __future__ import annotations

import pytest

from karla_receiver import Event, Receiver, Request
from karla_receiver.testing.attacks import Case, Setting, decisions, iter_cases, load_cases
from karla_receiver.testing.builders import shipment_event

SECRET = "another-secret-of-32-characters!"
NOW = 1_893_456_789
BODY = shipment_event(order_number="NT-1").body
SETTING = Setting(secret=SECRET, now=NOW, body=BODY)

MOVED = {case.id: case for case in iter_cases("core", "adapter", setting=lambda: SETTING)}
CASES = {case.id: case for case in load_cases("core", "adapter")}


def verdict(case: Case, secret: str | bytes) -> tuple[int, str | None, int]:
    events: list[Event] = []
    receiver = Receiver(secret, clock=lambda: case.now)
    receiver.on("*")(events.append)
    sent = case.delivery
    response = receiver.receive(Request(sent.method, sent.headers, sent.body))
    return response.status, response.reason, len(events)


@pytest.mark.parametrize(
    "case", [case for case in MOVED.values() if case.is_for_one_secret], ids=str
)
def test_a_case_means_the_same_in_another_setting(case: Case) -> None:
    original = CASES[case.id]
    (secret,) = original.secrets
    assert secret is not None
    assert verdict(case, SECRET) == verdict(original, secret)


def test_every_case_is_there_in_every_setting() -> None:
    assert list(MOVED) == list(CASES)
    assert len(MOVED) > 300


@pytest.mark.parametrize(
    ("case", "text"),
    [
        ("TIME-001", f"t={NOW},"),
        ("TIME-005", f"t={NOW - 301},"),
        ("TIME-015", "t=0,"),
        ("TIME-018", "t=9999999999999999,"),
        ("TIME-019", f"t={NOW + 2**32},"),
        ("TIME-024", f"t=-{NOW},"),
        ("TIME-026", f"t=0{NOW},"),
        ("TIME-027", "t=1_893_456_789,"),
        ("TIME-037", "t=1,893,456,789,"),
        ("TIME-030", f"t={NOW:#x},"),
        ("TIME-041", "t=2030-01-01T00:13:09Z,"),
        ("TIME-043", "t=" + "١٨٩٣٤٥٦٧٨٩".encode().decode("latin-1")),
        ("TIME-049", "t=\xb9893456789,"),
        ("TIME-058", f"t={NOW - 1000},"),
        ("HEAD-019", f"t={NOW},v1=0000"),
    ],
)
def test_times_move_in_whatever_spelling(case: str, text: str) -> None:
    assert MOVED[case].header_lines[0].startswith(text)


def test_only_a_body_that_may_be_any_event_is_replaced() -> None:
    assert MOVED["HEAD-001"].body == BODY
    for case in ("BODY-008", "TIME-051", "JSON-031"):
        assert MOVED[case].body == CASES[case].body


def test_the_skew_is_that_of_the_signed_timestamp() -> None:
    skews = {"TIME-004": 300, "TIME-006": -1, "TIME-010": 300.5, "TIME-024": None, "HEAD-002": None}
    assert {case: MOVED[case].skew for case in skews} == skews


def test_plain_is_what_karla_writes() -> None:
    plain = ("HEAD-001", "TIME-014", "BODY-005", "HMAC-033")
    others = ("HEAD-002", "HEAD-016", "HEAD-063", "HMAC-001", "TIME-027", "TIME-058")
    assert all(MOVED[case].is_plain for case in plain)
    assert not any(MOVED[case].is_plain for case in others)


def test_every_decision_that_a_case_names_is_there() -> None:
    assert list(decisions()) == [f"D{number}" for number in range(1, 16)]
