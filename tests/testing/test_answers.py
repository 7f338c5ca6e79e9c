from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from karla_receiver import Reason, Receiver, Request
from karla_receiver.request import REFUSALS, SUCCESS
from karla_receiver.testing import Answer, assert_acknowledged, assert_refused, shipment_event


def test_an_answer_has_headers_in_any_case_and_text() -> None:
    answer = Answer(status=200, headers=(("X-One", "1"), ("x-one", "2")), body=b"caf\xc3\xa9 \xff")

    assert (answer.header("x-ONE"), answer.header("x-two")) == ("1", None)
    assert answer.text == "café \ufffd"


RESPONSES = [
    lambda status, body: Answer(status=status, body=body),
    # As httpx, requests and Django have it; as Flask's test client; as aiohttp.
    lambda status, body: SimpleNamespace(status_code=status, content=body, reason="Reason phrase"),
    lambda status, body: SimpleNamespace(status_code=status, status=f"{status} X", data=body),
    lambda status, body: SimpleNamespace(status=status, body=body),
]


@pytest.mark.parametrize("make", RESPONSES)
def test_any_librarys_response_can_be_judged(make: Any) -> None:
    assert_acknowledged(make(200, SUCCESS.body))
    assert_refused(make(401, b""))
    body = REFUSALS[Reason.BODY_TOO_LARGE].body
    assert_refused(make(413, body), "body_too_large")
    with pytest.raises(AssertionError, match=r"not acknowledged: answered 413 \(body_too_large\)"):
        assert_acknowledged(make(413, body))
    with pytest.raises(AssertionError, match="refused as body_too_large, expected"):
        assert_refused(make(400, b'{"reason":"body_too_large"}'), Reason.INVALID_JSON)


def test_a_mismatch_asks_for_the_secret_of_the_tests() -> None:
    hint = "; is the fixture karla_secret the secret of this app\\?$"
    with pytest.raises(AssertionError, match=hint):
        assert_acknowledged(Answer(status=401, reason="signature_mismatch"))
    with pytest.raises(AssertionError, match=r"expected 200$"):
        assert_acknowledged(Answer(status=401, reason="missing_signature"))


@pytest.mark.parametrize("status", [201, 202, 204, 302, 401, 500])
def test_nothing_but_200_acknowledges(status: int) -> None:
    with pytest.raises(AssertionError, match=f"answered {status}, expected 200"):
        assert_acknowledged(Answer(status=status))


@pytest.mark.parametrize("status", [200, 302, 404, 409, 429, 500, 501, 503])
def test_success_and_failure_are_no_refusals(status: int) -> None:
    expected = "expected a refusal: 400, 401, 403, 405, 411, 413, 414, 431$"
    with pytest.raises(AssertionError, match=f"answered {status}, {expected}"):
        assert_refused(Answer(status=status))


@pytest.mark.parametrize("status", [400, 401, 403, 405, 411, 413, 414, 431])
def test_every_status_that_refuses_a_request_is_a_refusal(status: int) -> None:
    assert_refused(Answer(status=status))


def test_the_status_must_be_the_reasons() -> None:
    with pytest.raises(AssertionError, match="answered 400, expected 401"):
        assert_refused(Answer(status=400), Reason.NO_V1)


def test_a_logged_reason_is_compared() -> None:
    answer = Answer(status=401, reason="timestamp_too_old")

    assert_refused(answer, Reason.TIMESTAMP_TOO_OLD)
    with pytest.raises(AssertionError, match="refused as timestamp_too_old, expected no_v1"):
        assert_refused(answer, "no_v1")


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b'{"title":"Unauthorized"}'])
def test_a_reason_that_cannot_be_seen_is_not_taken_as_given(body: bytes) -> None:
    with pytest.raises(ValueError, match="no 401 tells it"):
        assert_refused(Answer(status=401, body=body), Reason.SIGNATURE_MISMATCH)


def test_an_unknown_reason_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match="'forged' is no reason: there are invalid_json, "):
        assert_refused(Answer(status=401), "forged")


@pytest.mark.parametrize("response", [None, "200", SimpleNamespace(status="200 OK")])
def test_what_has_no_status_is_a_mistake(response: object) -> None:
    with pytest.raises(TypeError, match="expected a response with a status"):
        assert_acknowledged(response)


def test_the_cores_own_response_can_be_judged() -> None:
    bad = shipment_event().bad("forged", "another-secret-16")
    response = Receiver("my-secret-16-chars").receive(Request(bad.method, bad.headers, bad.body))
    assert_refused(response, "signature_mismatch")
