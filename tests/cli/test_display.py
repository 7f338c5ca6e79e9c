from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from karla_receiver import Reason, parse_event
from karla_receiver.cli.deliveries import NamedDelivery, all_deliveries
from karla_receiver.cli.display import Display, JSONLines, Rows, Summary
from karla_receiver.cli.exchange import Exchange
from karla_receiver.cli.witness import Rehearsal, Result, documented_result
from karla_receiver.testing.deliveries import Delivery
from tests.signing import BODY

GENUINE = NamedDelivery(name="good", sent="a good one", request=Delivery(body=BODY))
FORGED = NamedDelivery(
    name="bad",
    sent="a bad one",
    request=Delivery(body=BODY, reason=Reason.SIGNATURE_MISMATCH),
)
SUMMARY = Summary(adapter="asgi", handled=20, refused=10, undocumented=0, seconds=1.23456)


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


def rehearsal(delivery: NamedDelivery, result: Result, *, seconds: float = 0) -> Rehearsal:
    exchange = Exchange(delivery=delivery, status=result.status, seconds=seconds)
    return Rehearsal(exchange=exchange, result=result)


def documented(delivery: NamedDelivery) -> Rehearsal:
    return rehearsal(delivery, documented_result(delivery), seconds=0.0015)


def shown(
    display: Display, capsys: pytest.CaptureFixture[str], *rehearsals: Rehearsal
) -> list[str]:
    for each in rehearsals:
        display.show(each)
    return capsys.readouterr().out.splitlines()


def test_a_row_tells_what_was_sent_what_came_back_and_what_a_handler_saw(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert shown(Rows(), capsys, documented(GENUINE), documented(FORGED)) == [
        "",
        "Genuine: to be handled",
        "ok 200 a good one                        "
        "NT-20417 shipments/delivered/SUCCESSFULLY_DELIVERED ShipmentEvent",
        "",
        "To be refused",
        "ok 401 a bad one                         signature_mismatch, no handler called",
    ]


def test_a_wrong_result_is_marked_and_says_what_was_documented(
    capsys: pytest.CaptureFixture[str],
) -> None:
    accepted = documented_result(GENUINE)
    lost = Result(status=None)
    rows = shown(
        Rows(),
        capsys,
        rehearsal(FORGED, accepted),
        rehearsal(FORGED, lost),
    )
    assert rows[2].startswith("!! 200 a bad one                         NT-20417 shipments/")
    assert rows[3] == "   401 was documented: signature_mismatch, no handler called"
    assert rows[4] == "!! --- a bad one                         no handler called"


def test_an_event_without_ref_and_order_is_shown_too(capsys: pytest.CaptureFixture[str]) -> None:
    bare = replace(GENUINE, request=Delivery(body=b'{"event_group": "x"}'))
    (*_, row) = shown(Rows(), capsys, documented(bare))
    assert row.endswith(" - - UnknownEvent")


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_terminal_cuts_rows_to_its_width_and_a_pipe_gets_them_whole(
    is_terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", str(int(is_terminal)))
    display = Rows()
    display.begin("asgi", "http://127.0.0.1:65535/webhooks/karla")
    rows = shown(display, capsys, *map(documented, all_deliveries("secret", now=1_700_000_000)))
    display.end(replace(SUMMARY, undocumented=30))
    rows += capsys.readouterr().out.splitlines()

    assert len(rows) > 40
    plain = [re.sub("\x1b\\[[0-9;]*m", "", row) for row in rows]
    assert (max(map(len, plain)) == 80) == is_terminal
    assert any(row.endswith("\u2026") for row in plain) == is_terminal
    assert "".join(rows).isprintable() != is_terminal


def test_what_is_sent_leaves_the_columns_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    deliveries = all_deliveries("secret", now=1_700_000_000)
    rows = [
        row for row in shown(Rows(), capsys, *map(documented, deliveries)) if row.startswith("ok ")
    ]

    assert len(rows) == len(deliveries)
    for row, delivery in zip(rows, deliveries, strict=True):
        assert row[7:41] == f"{delivery.sent:33} "


def test_brackets_in_what_is_shown_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    body = json.dumps({"event_group": "x", "ref": "[red]x[/red]"}).encode()
    odd = replace(GENUINE, request=Delivery(body=body))
    (*_, row) = shown(Rows(), capsys, documented(odd))
    assert "[red]x[/red]" in row


@pytest.mark.parametrize(
    ("undocumented", "verdict"),
    [
        (0, "Every result was the documented one."),
        (2, "2 of 30 results were not the documented ones."),
    ],
)
def test_the_last_row_is_the_verdict(
    capsys: pytest.CaptureFixture[str], undocumented: int, verdict: str
) -> None:
    Rows().end(replace(SUMMARY, undocumented=undocumented))
    assert capsys.readouterr().out == f"\n20 handled, 10 refused, in 1.23 s. {verdict}\n"


def test_no_color_is_honoured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    green = "\x1b[32m"
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert green in "".join(shown(Rows(), capsys, documented(GENUINE)))
    monkeypatch.setenv("NO_COLOR", "1")
    assert green not in "".join(shown(Rows(), capsys, documented(GENUINE)))


def test_a_line_of_json_holds_all_of_an_exchange(capsys: pytest.CaptureFixture[str]) -> None:
    accepted = rehearsal(FORGED, documented_result(GENUINE), seconds=0.00123456)
    good, bad = map(json.loads, shown(JSONLines(), capsys, documented(GENUINE), accepted))
    event = {
        "event_type": "ShipmentEvent",
        "ref": parse_event(BODY).ref,
        "event_group": "shipment_delivered",
        "order_number": "NT-20417",
    }

    assert good == {
        "type": "delivery",
        "name": "good",
        "sent": "a good one",
        "status": 200,
        "reason": None,
        "handled": [event],
        "documented": {"status": 200, "reason": None},
        "is_documented": True,
        "milliseconds": 1.5,
    }
    assert bad == good | {
        "name": "bad",
        "sent": "a bad one",
        "documented": {"status": 401, "reason": "signature_mismatch"},
        "is_documented": False,
        "milliseconds": 1.235,
    }


def test_the_last_line_of_json_is_the_summary(capsys: pytest.CaptureFixture[str]) -> None:
    display = JSONLines()
    display.begin("asgi", "http://127.0.0.1/")
    display.end(SUMMARY)

    assert json.loads(capsys.readouterr().out) == {
        "type": "summary",
        "adapter": "asgi",
        "handled": 20,
        "refused": 10,
        "undocumented": 0,
        "seconds": 1.235,
    }
