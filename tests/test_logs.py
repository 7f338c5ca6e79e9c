from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from karla_receiver import Receiver, Request, samples, sign

SECRET = "canary-secret"
NOW = 1_700_000_000
BODY = samples.read("shipment_delivered")


def receive(body: bytes, signature: str, **changes: Any) -> None:
    receiver = Receiver(SECRET, clock=lambda: NOW)
    receiver.on("shipments")(changes.pop("handler", print))
    fields: dict[str, Any] = {
        "method": "POST",
        "headers": {"Karla-Signature": signature},
        "body": body,
    }
    receiver.receive(Request(**{**fields, **changes}))


def only_record(caplog: pytest.LogCaptureFixture) -> logging.LogRecord:
    (record,) = caplog.records
    assert record.name == "karla_receiver"
    return record


def test_a_success_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    receive(BODY, sign(BODY, SECRET, timestamp=NOW))
    assert caplog.records == []


def test_a_level_that_is_off_costs_no_line(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.ERROR, "karla_receiver")
    monkeypatch.setattr(logging.Logger, "log", lambda *args, **kwargs: pytest.fail("a line"))
    receive(BODY, "nonsense")
    assert caplog.records == []


def test_a_refusal_logs_reason_size_and_skew_on_one_line(caplog: pytest.LogCaptureFixture) -> None:
    receive(BODY, sign(BODY, SECRET, timestamp=NOW - 412))
    record = only_record(caplog)

    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "refused a delivery: timestamp_too_old (status 401, 1874 bytes, clock skew +412.0 s):"
        " signed +412.0 s from our clock, 300 allowed"
    )
    fields = ("reason", "status", "body_bytes", "clock_skew")
    assert [getattr(record, field) for field in fields] == ["timestamp_too_old", 401, 1874, 412.0]


def test_a_handlers_error_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    def handler(event: object) -> None:
        raise LookupError("no such order")

    receive(BODY, sign(BODY, SECRET, timestamp=NOW), handler=handler)
    record = only_record(caplog)

    assert record.levelno == logging.ERROR
    assert "LookupError: no such order" in caplog.text
    assert "ref 'shipments/delivered/SUCCESSFULLY_DELIVERED'" in record.getMessage()


def test_an_event_that_does_not_fit_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    body = b'{"event_group":"x","source":"shipments"}'
    receive(body, sign(body, SECRET, timestamp=NOW))
    assert only_record(caplog).levelno == logging.ERROR


def test_what_a_sender_controls_is_escaped_and_cut(caplog: pytest.LogCaptureFixture) -> None:
    ref = "shipments/x\r\n2023-11-14 ERROR forged line\x1b[31m\u202e" + "y" * 5000
    body = json.dumps({"event_group": "x", "ref": ref}).encode()
    receive(body, sign(body, SECRET, timestamp=NOW))
    receive(b"", "", method="G\r\nET" * 5000)

    for record in caplog.records:
        assert record.getMessage().isprintable()
        assert record.getMessage().isascii()
        assert len(record.getMessage()) < 500
    assert len(caplog.records) == 2


def test_no_line_holds_a_secret_a_signature_or_a_body(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    good = sign(BODY, SECRET, timestamp=NOW)
    forged = good[:-1] + ("0" if good[-1] != "0" else "1")
    not_json = BODY[:-1]
    receive(BODY, forged)
    receive(BODY, good.replace("v1", "v0"))
    receive(BODY, good + ",Mira")
    receive(not_json, sign(not_json, SECRET, timestamp=NOW))
    text = caplog.text

    assert len(caplog.records) == 4
    for canary in (SECRET, good[-64:-1], "Mira", "JJD000390012345678901"):
        assert canary not in text
