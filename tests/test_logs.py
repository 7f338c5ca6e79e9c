from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from karla_receiver import Discard, Receiver, Request, RetryLater, sign
from karla_receiver.idempotency import Claim, ClaimState
from tests.observed import Remembering
from tests.signing import BODY, NOW, SECRET, signature_header


def receive(body: bytes, signature: str, **changes: Any) -> None:
    receiver = Receiver(SECRET, clock=lambda: NOW)
    receiver.on(changes.pop("pattern", "shipments"))(changes.pop("handler", print))
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


def fields(record: logging.LogRecord) -> tuple[Any, ...]:
    """Return what every refusal has."""
    names = ("reason", "status", "body_bytes", "clock_skew", "ref", "event_group")
    return tuple(vars(record)[name] for name in names)


def raising(error: Exception) -> Any:
    def handler(event: object) -> None:
        raise error

    return handler


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
    assert fields(record) == ("timestamp_too_old", 401, 1874, 412.0, None, None)


def test_a_handlers_error_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    def handler(event: object) -> None:
        raise LookupError("no such order")

    receive(BODY, sign(BODY, SECRET, timestamp=NOW), handler=handler)
    record = only_record(caplog)

    assert record.levelno == logging.ERROR
    assert "LookupError: no such order" in caplog.text
    assert "ref 'shipments/delivered/SUCCESSFULLY_DELIVERED'" in record.getMessage()


@pytest.mark.parametrize(
    ("error", "reason", "status", "level"),
    [
        (LookupError(), "handler_error", 500, logging.ERROR),
        (RetryLater(7, "closed"), "retry_later", 503, logging.INFO),
    ],
)
def test_every_refusal_of_an_event_has_the_same_fields(
    caplog: pytest.LogCaptureFixture, error: Exception, reason: str, status: int, level: int
) -> None:
    caplog.set_level(logging.INFO)
    receive(BODY, sign(BODY, SECRET, timestamp=NOW), handler=raising(error))
    record = only_record(caplog)

    ref = "shipments/delivered/SUCCESSFULLY_DELIVERED"
    assert record.levelno == level
    assert fields(record) == (reason, status, 1874, None, ref, "shipment_delivered")


def test_a_later_try_is_told_with_its_wait_and_why(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    handler = raising(RetryLater(7, "closed\n"))
    receive(BODY, sign(BODY, SECRET, timestamp=NOW), handler=handler)
    assert only_record(caplog).getMessage() == (
        "refused a delivery: retry_later (status 503, 1874 bytes, ref"
        " 'shipments/delivered/SUCCESSFULLY_DELIVERED'): in 7 s: 'closed\\n'"
    )


def test_a_discarded_delivery_has_fields(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    receive(BODY, sign(BODY, SECRET, timestamp=NOW), handler=raising(Discard("of no concern")))
    told = vars(only_record(caplog))
    ref = "shipments/delivered/SUCCESSFULLY_DELIVERED"
    assert (told["ref"], told["event_group"]) == (ref, "shipment_delivered")
    assert "reason" not in told, "it was not refused"


def test_lines_about_a_key_have_it_as_a_field(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    near = Claim(ClaimState.CLAIMED, "token", is_near_duplicate=True)

    class Broken(Remembering):
        def done(self, key: str, token: str) -> None:
            raise OSError

    receiver = Receiver(SECRET, clock=lambda: NOW, idempotency=Broken(near))
    receiver.on("*")(lambda event: None)
    headers = signature_header(timestamp=NOW)
    receiver.receive(Request("POST", headers, BODY))
    first, second = map(vars, caplog.records)
    assert first["event_group"] == "shipment_delivered"
    assert first["ref"] == "shipments/delivered/SUCCESSFULLY_DELIVERED"
    assert first["key"] == second["key"]
    assert len(first["key"]) == 16
    assert first["key"] in caplog.text


def test_an_event_that_does_not_fit_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    body = b'{"event_group":"x","source":"shipments"}'
    receive(body, sign(body, SECRET, timestamp=NOW))
    assert only_record(caplog).levelno == logging.ERROR


def test_what_a_sender_controls_is_escaped_and_cut(caplog: pytest.LogCaptureFixture) -> None:
    ref = "shipments/x\r\n2023-11-14 ERROR forged line\x1b[31m\u202e" + "y" * 5000
    body = json.dumps({"event_group": ref[10:], "ref": ref}).encode()
    header = sign(body, SECRET, timestamp=NOW)
    caplog.set_level(logging.INFO)
    receive(body, header, pattern="*", handler=raising(RetryLater(1, ref)))
    receive(b"", "", method="G\r\nET" * 5000)

    for record in caplog.records:
        for name in ("ref", "event_group"):
            field = vars(record)[name] or ""
            assert field.isascii()
            assert field.isprintable()
            assert len(field) < 500
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
