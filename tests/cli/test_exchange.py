from __future__ import annotations

import logging
from dataclasses import replace

import httpx2
import pytest

from karla_receiver import Reason, parse_event, samples
from karla_receiver.cli.deliveries import NamedDelivery
from karla_receiver.cli.exchange import Exchange, deliver
from karla_receiver.cli.witness import Rehearsal, Result, Witness, documented_result
from karla_receiver.observing.logs import logger
from karla_receiver.testing.deliveries import Delivery

URL = "http://127.0.0.1/webhooks/karla"
BODY = samples.read("claim_created")
EVENT = parse_event(BODY)
REQUEST = Delivery(headers=(("Karla-Signature", "t=1,v1=2"),), body=BODY)


def named(request: Delivery) -> NamedDelivery:
    return NamedDelivery(name="it", sent="it", request=request)


GENUINE = named(REQUEST)
FORGED = named(replace(REQUEST, reason=Reason.SIGNATURE_MISMATCH))


def rehearsal(delivery: NamedDelivery, result: Result) -> Rehearsal:
    exchange = Exchange(delivery=delivery, status=result.status, seconds=0)
    return Rehearsal(exchange=exchange, result=result)


def test_a_genuine_delivery_is_to_be_handled_once_with_its_own_event() -> None:
    handled = Result(status=200, events=(EVENT,))
    other = parse_event(samples.read("claim_updated"))

    assert rehearsal(GENUINE, handled).is_documented
    for result in (
        replace(handled, status=202),
        replace(handled, events=()),
        replace(handled, events=(other,)),
        replace(handled, events=(EVENT, EVENT)),
        replace(handled, reasons=("handler_error",)),
    ):
        assert not rehearsal(GENUINE, result).is_documented


def test_a_forged_delivery_is_to_be_refused_for_its_reason_and_seen_by_no_handler() -> None:
    refused = Result(status=401, reasons=("signature_mismatch",))

    assert rehearsal(FORGED, refused).is_documented
    for result in (
        replace(refused, status=400),
        replace(refused, status=None),
        replace(refused, reasons=()),
        replace(refused, reasons=("timestamp_too_old",)),
        replace(refused, reasons=("signature_mismatch", "signature_mismatch")),
        replace(refused, events=(EVENT,)),
    ):
        assert not rehearsal(FORGED, result).is_documented


def test_a_handler_that_fails_has_seen_the_event() -> None:
    failing = named(replace(REQUEST, reason=Reason.HANDLER_ERROR))
    expected = Result(status=500, reasons=("handler_error",), events=(EVENT,))
    assert documented_result(failing) == expected


def test_what_is_sent_is_what_the_delivery_says() -> None:
    received: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        received.append(request)
        return httpx2.Response(200)

    with httpx2.Client(transport=httpx2.MockTransport(answer)) as client:
        deliver(client, URL, GENUINE)
        deliver(client, URL, named(Delivery(method="PUT", body=BODY)))

    assert [request.method for request in received] == ["POST", "PUT"]
    assert [request.content for request in received] == [BODY, BODY]
    assert [request.headers.get("Karla-Signature") for request in received] == ["t=1,v1=2", None]


def test_the_result_holds_what_was_seen_since_it_was_sent() -> None:
    witness = Witness()
    logger_before = (list(logger.handlers), logger.propagate)

    def answer(request: httpx2.Request) -> httpx2.Response:
        witness.note(EVENT)
        logger.warning("refused", extra={"reason": "no_v1"})
        logger.warning("something else")
        return httpx2.Response(418)

    with witness.listening(), httpx2.Client(transport=httpx2.MockTransport(answer)) as client:
        logger.warning("before", extra={"reason": "missing_signature"})
        witness.note(EVENT)
        result = witness.deliver(client, URL, GENUINE).result

    assert result == Result(status=418, reasons=("no_v1",), events=(EVENT,))
    assert (list(logger.handlers), logger.propagate) == logger_before


def test_the_receivers_log_goes_nowhere_else_meanwhile(caplog: pytest.LogCaptureFixture) -> None:
    with Witness().listening():
        logger.error("refused", extra={"reason": "no_v1"})
    assert caplog.records == []

    logger.error("afterwards")
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_a_lost_answer_is_a_result_without_a_status() -> None:
    def lose(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ReadError("connection reset")

    with httpx2.Client(transport=httpx2.MockTransport(lose)) as client:
        lost = Witness().deliver(client, URL, FORGED)

    assert lost.result == Result(status=None)
    assert not lost.is_documented
