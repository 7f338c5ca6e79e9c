from __future__ import annotations

from typing import Any

import pytest

from karla_receiver import ConfigurationError
from karla_receiver.registration import Retries
from karla_receiver.registration.calls import Call
from karla_receiver.registration.responses import APIResponse, CallResult, NoResponse

GET = Call(method="GET", url="https://api.example")
POST = Call(method="POST", url="https://api.example", is_repeatable=False)
NOW = 1_700_000_000.0
IN_A_MINUTE = "Tue, 14 Nov 2023 22:14:20 GMT"

UNSENT = NoResponse(detail="refused", may_be_done=False)
LOST = NoResponse(detail="cut", may_be_done=True)
HOPELESS = NoResponse(detail="TLS", may_be_done=False, is_lasting=True)


def answer(status: int, retry_after: str = "") -> APIResponse:
    return APIResponse(status=status, body=b"", retry_after_text=retry_after)


def wait(result: CallResult, call: Call = GET, attempt: int = 1, jitter: float = 1) -> float | None:
    retries = Retries(attempts=4, first_wait=0.5, longest_wait=100)
    return retries.wait_after(result, call, attempt, jitter=lambda: jitter, clock=lambda: NOW)


@pytest.mark.parametrize(
    ("result", "repeatable", "creation"),
    [
        (UNSENT, True, True),
        (LOST, True, False),
        (HOPELESS, False, False),
        (answer(200), False, False),
        (answer(204), False, False),
        (answer(302), False, False),
        (answer(400), False, False),
        (answer(401), False, False),
        (answer(404), False, False),
        (answer(409), False, False),
        (answer(422), False, False),
        (answer(429), True, True),
        (answer(500), True, False),
        (answer(501), False, False),
        (answer(502), True, False),
        (answer(503), True, False),
        (answer(504), True, False),
    ],
)
def test_only_what_is_safe_is_repeated(
    result: CallResult, repeatable: bool, creation: bool
) -> None:
    assert (wait(result, GET) is not None) is repeatable
    assert (wait(result, POST) is not None) is creation


def test_waits_double_and_attempts_end() -> None:
    assert [wait(UNSENT, attempt=number) for number in (1, 2, 3, 4)] == [0.5, 1, 2, None]


def test_jitter_takes_up_to_half_of_a_wait() -> None:
    assert [wait(UNSENT, jitter=each) for each in (0, 0.5, 1)] == [0.25, 0.375, 0.5]


def test_no_wait_is_longer_than_the_longest() -> None:
    many = Retries(attempts=10_000, first_wait=0.5, longest_wait=30)
    waits = [many.wait_after(LOST, GET, number, jitter=lambda: 1) for number in (7, 60, 9_000)]
    assert waits == [30, 30, 30]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", 0.5),
        ("0", 0.5),
        ("7", 7),
        (" 7 ", 7),
        ("100", 100),
        ("101", None),
        ("9" * 400, None),
        (IN_A_MINUTE, 60),
        ("Tue, 14 Nov 2023 22:14:20 -0000", 60),
        ("Tue, 14 Nov 2023 22:00:00 GMT", 0.5),
        ("Tue, 14 Nov 2024 22:00:00 GMT", None),
        ("-7", 0.5),
        ("1.5", 0.5),
        ("\u0667", 0.5),
        ("soon", 0.5),
        ("Tue, 99 Nov 2023 22:14:20 GMT", 0.5),
    ],
)
def test_what_karla_asks_for_is_waited_unless_it_is_too_long(
    header: str, expected: float | None
) -> None:
    assert wait(answer(503, header)) == expected


@pytest.mark.parametrize(
    "values",
    [
        {"attempts": 0},
        {"attempts": 1.5},
        {"attempts": True},
        {"first_wait": -1},
        {"first_wait": float("nan")},
        {"longest_wait": float("inf")},
        {"longest_wait": "30"},
        {"longest_wait": True},
        {"first_wait": 10**400},
        {"longest_wait": 1e300},
    ],
)
def test_values_that_make_no_sense_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Retries(**values)


def test_one_attempt_means_no_retry() -> None:
    assert Retries(attempts=1).wait_after(UNSENT, GET, 1) is None


def test_the_usual_wait_is_random() -> None:
    waits = {Retries().wait_after(UNSENT, GET, 1) for _ in range(20)}
    assert len(waits) > 1
    assert all(each is not None and 0.25 <= each <= 0.5 for each in waits)
