from __future__ import annotations

import json
from http import HTTPStatus
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType

import pytest

from karla_receiver import Reason, SignatureError, request
from karla_receiver.errors import STATUS, DeliveryError
from karla_receiver.request import REFUSALS, SUCCESS, retry_later

# The table of answers once more, by hand: the promise to users, which must not change by chance.
ANSWERS = {
    400: {"invalid_json", "invalid_envelope", "bad_content_length", "body_incomplete"},
    401: {
        "missing_signature",
        "malformed_header",
        "no_v1",
        "signature_mismatch",
        "timestamp_too_old",
        "timestamp_in_future",
    },
    403: {"https_required"},
    405: {"method_not_allowed"},
    409: {"in_progress"},
    411: {"length_required"},
    413: {"body_too_large"},
    500: {"handler_error", "undecodable_event"},
    503: {"retry_later", "unavailable"},
    None: {"client_disconnected"},
}


@pytest.mark.parametrize("status", ANSWERS)
def test_each_reason_has_the_promised_status(status: int | None) -> None:
    assert {reason for reason in Reason if STATUS[reason] == status} == ANSWERS[status]


def test_every_reason_is_in_the_table() -> None:
    assert set(STATUS) == set(Reason) == set().union(*ANSWERS.values())
    assert set(REFUSALS) == set(Reason) - {Reason.CLIENT_DISCONNECTED}


@pytest.mark.parametrize("reason", REFUSALS)
def test_a_refusal_is_problem_json_that_tells_strangers_nothing(reason: Reason) -> None:
    response = REFUSALS[reason]
    headers = dict(response.headers)
    problem = json.loads(response.body)

    assert response.reason is reason
    assert headers["content-type"] == "application/problem+json"
    assert headers["content-length"] == str(len(response.body))
    assert problem.pop("status") == response.status == STATUS[reason]
    assert problem.pop("title") == HTTPStatus(response.status).phrase == response.phrase
    assert problem == ({} if response.status == 401 else {"reason": reason})


def test_extra_headers_go_with_the_statuses_that_call_for_them() -> None:
    extra = {
        response.status: dict(response.headers[2:])
        for response in [SUCCESS, *REFUSALS.values()]
        if len(response.headers) > 2
    }
    assert extra == {
        405: {"allow": "POST"},
        409: {"retry-after": "5"},
        503: {"retry-after": "5"},
    }


def test_success_is_what_karlas_own_receiver_answers() -> None:
    assert (SUCCESS.status, SUCCESS.reason) == (200, None)
    assert json.loads(SUCCESS.body) == {"status": "success"}


def test_an_error_carries_its_evidence_and_reads_well() -> None:
    error = SignatureError(Reason.TIMESTAMP_TOO_OLD, "412 s", 412.0)

    assert (error.reason, error.status, error.clock_skew) == (Reason.TIMESTAMP_TOO_OLD, 401, 412.0)
    assert str(error) == "timestamp_too_old: 412 s"
    assert str(DeliveryError(Reason.NO_V1)) == "no_v1"


def made_anew() -> ModuleType:
    """Run the module again: the answers are made while it is imported, long before a test runs."""
    spec = spec_from_file_location(request.__name__, request.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("reason", "body", "extra"),
    [
        ("invalid_json", '{"title":"Bad Request","status":400,"reason":"invalid_json"}', []),
        ("no_v1", '{"title":"Unauthorized","status":401}', []),
        (
            "method_not_allowed",
            '{"title":"Method Not Allowed","status":405,"reason":"method_not_allowed"}',
            [("allow", "POST")],
        ),
        (
            "unavailable",
            '{"title":"Service Unavailable","status":503,"reason":"unavailable"}',
            [("retry-after", "5")],
        ),
    ],
)
def test_a_refusal_has_these_very_bytes(
    reason: str, body: str, extra: list[tuple[str, str]]
) -> None:
    refusal = made_anew().REFUSALS[reason]

    assert refusal.body.decode() == body
    assert (refusal.reason, refusal.status) == (reason, json.loads(body)["status"])
    assert list(refusal.headers) == [
        ("content-type", "application/problem+json"),
        ("content-length", str(len(body))),
        *extra,
    ]


def test_the_answer_to_a_handler_that_wants_to_be_tried_later_says_when() -> None:
    usual, later = REFUSALS[Reason.RETRY_LATER], retry_later(90)

    assert (later.status, later.reason, later.body) == (503, Reason.RETRY_LATER, usual.body)
    assert later.headers == (
        ("content-type", "application/problem+json"),
        ("content-length", str(len(usual.body))),
        ("retry-after", "90"),
    )


def test_success_has_these_very_bytes() -> None:
    success = made_anew().SUCCESS

    assert (success.status, success.body, success.reason) == (200, b'{"status":"success"}', None)
    assert list(success.headers) == [
        ("content-type", "application/json"),
        ("content-length", "20"),
    ]


def test_the_answer_to_head_differs_in_its_body_only() -> None:
    answer = REFUSALS[Reason.METHOD_NOT_ALLOWED]
    bare = answer.without_body()

    assert bare.body == b""
    assert (bare.status, bare.headers, bare.reason) == (
        answer.status,
        answer.headers,
        answer.reason,
    )


def test_an_error_shows_its_reason_and_detail_in_a_traceback_of_any_kind() -> None:
    error = SignatureError(Reason.NO_V1, "none")

    assert error.args == (Reason.NO_V1, "none")
    assert repr(error) == "SignatureError(<Reason.NO_V1: 'no_v1'>, 'none')"
    assert (SignatureError(Reason.NO_V1).detail, SignatureError(Reason.NO_V1).clock_skew) == (
        "",
        None,
    )
