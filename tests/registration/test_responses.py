from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from karla_receiver.registration import (
    ErrorBody,
    Problem,
    RegistrationError,
    Secret,
    UnexpectedAnswerError,
)
from karla_receiver.registration.calls import Call
from karla_receiver.registration.responses import APIResponse, error_of, read_webhook
from karla_receiver.registration.webhook import to_webhook

GET = Call(method="GET", url="https://api.example")
LEAST = {"uuid": "u", "url": "https://shop.example", "enabled_events": ["*"]}


def test_a_webhook_needs_no_more_than_karla_needs_of_it() -> None:
    webhook = to_webhook(LEAST)
    assert (webhook.uuid, webhook.url, webhook.enabled_events) == (
        "u",
        "https://shop.example",
        ("*",),
    )
    assert webhook.status == "active"
    optional = (webhook.description, webhook.secret, webhook.shop_slug, webhook.created_at)
    assert optional == (None, None, None, None)


@pytest.mark.parametrize(
    ("sent", "field", "expected"),
    [
        ({"description": "x"}, "description", "x"),
        ({"description": 7}, "description", None),
        ({"status": "paused"}, "status", "paused"),
        ({"status": None}, "status", "active"),
        ({"shop_slug": "new"}, "shop_slug", "new"),
        ({"merchant_slug": "old"}, "shop_slug", "old"),
        ({"merchant_slug": "old", "shop_slug": "new"}, "shop_slug", "new"),
        ({"merchant_slug": ["old"]}, "shop_slug", None),
        ({"secret": "s"}, "secret", Secret("s")),
        ({"secret": ""}, "secret", None),
        ({"secret": None}, "secret", None),
        ({"secret": 7}, "secret", None),
        (
            {"created_at": "2026-01-02T03:04:05Z"},
            "created_at",
            datetime(2026, 1, 2, 3, 4, 5, 0, UTC),
        ),
        ({"created_at": "2026-01-02T03:04:05"}, "created_at", None),
        ({"created_at": "yesterday"}, "created_at", None),
        ({"updated_at": None}, "updated_at", None),
        ({"new_field": {}}, "uuid", "u"),
    ],
)
def test_an_optional_field_that_does_not_fit_costs_that_field(
    sent: dict[str, Any], field: str, expected: object
) -> None:
    assert getattr(to_webhook({**LEAST, **sent}), field) == expected


@pytest.mark.parametrize("name", LEAST)
@pytest.mark.parametrize("value", [None, 7, {}])
def test_what_is_needed_must_fit(name: str, value: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        to_webhook({**LEAST, name: value})


def test_a_field_that_is_missing_is_named() -> None:
    with pytest.raises(UnexpectedAnswerError, match="required field `uuid`"):
        read_webhook(GET, APIResponse(status=200, body=b"{}"))


def said(body: Any, status: int = 400) -> ErrorBody:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = error_of(GET, APIResponse(status=status, body=raw), []).answer
    assert answer is not None
    return answer


@pytest.mark.parametrize(
    ("body", "expected", "text"),
    [
        (
            {"type": "api_error", "key": "k", "message": "m"},
            ErrorBody(type="api_error", key="k", message="m"),
            "k: m",
        ),
        (
            {"errors": [{"loc": "body.url", "msg": "bad", "type": "t"}], "message": "m"},
            ErrorBody(message="m", problems=(Problem("body.url", "bad", "t"),)),
            "m; body.url: bad",
        ),
        (
            {"errors": [{"field": "url", "msg": "bad"}]},
            ErrorBody(problems=(Problem("url", "bad"),)),
            "url: bad",
        ),
        (
            {"detail": [{"loc": ["body", "events", 0], "msg": "bad", "type": "t"}]},
            ErrorBody(problems=(Problem("body.events.0", "bad", "t"),)),
            "body.events.0: bad",
        ),
        ({"detail": "Not Found"}, ErrorBody(message="Not Found"), "Not Found"),
        ({"detail": [{}, 7]}, ErrorBody(problems=(Problem("", ""),)), ""),
        ({"detail": 7, "errors": {}, "type": 7}, ErrorBody(), ""),
        ({}, ErrorBody(), ""),
        (b"", ErrorBody(), ""),
        (b"<h1>no</h1>", ErrorBody(text="<h1>no</h1>"), "<h1>no</h1>"),
        (b"\xff\x00", ErrorBody(text="\ufffd\\x00"), "\ufffd\\x00"),
        ("text", ErrorBody(text='"text"'), '"text"'),
        (b"[" * 100_000, ErrorBody(text="[" * 300), "[" * 300),
    ],
)
def test_what_karla_said_is_kept_in_whatever_form(
    body: Any, expected: ErrorBody, text: str
) -> None:
    assert said(body) == expected
    assert str(said(body)) == text


def test_much_is_cut() -> None:
    body = {"message": "x" * 1000, "errors": [{"msg": "y"}] * 100}
    assert said(body).message == "x" * 300
    assert len(said(body).problems) == 20


def test_an_error_without_an_answer_says_what_and_where() -> None:
    error = RegistrationError("nobody home", "GET", "https://api.example")
    assert str(error) == "nobody home: GET https://api.example"
    assert str(error_of(GET, APIResponse(status=400, body=b""), [])) == (
        "Karla refused the request: GET https://api.example answered 400"
    )
