from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from karla_receiver import (
    Event,
    Reason,
    Receiver,
    RequestError,
    RetryLater,
    parse_event,
)
from karla_receiver.adapters.opentelemetry import OpenTelemetryObserver
from karla_receiver.idempotency import Claim, ClaimState
from karla_receiver.observing import BODY_BOUNDS, DURATION_BOUNDS, SKEW_BOUNDS, attempt
from tests.observed import Remembering
from tests.signing import BODY, NOW, SECRET, signed


class Recorded:
    """An observer with an SDK of its own, and what that recorded."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self._meters = MeterProvider([self._reader])
        self.observer = OpenTelemetryObserver(self.tracers, self._meters)

    def spans(self) -> dict[str, Any]:
        return {span.name: span for span in self._spans.get_finished_spans()}

    def finished(self) -> tuple[Any, ...]:
        return self._spans.get_finished_spans()

    def bounds(self) -> dict[str, tuple[float, ...]]:
        data: Any = self._reader.get_metrics_data()
        return {
            metric.name: metric.data.data_points[0].explicit_bounds
            for metric in data.resource_metrics[0].scope_metrics[0].metrics
            if hasattr(metric.data.data_points[0], "explicit_bounds")
        }

    def metrics(self) -> dict[str, list[tuple[dict[str, Any], Any]]]:
        data: Any = self._reader.get_metrics_data()
        return {
            metric.name: [
                (dict(point.attributes), getattr(point, "value", getattr(point, "sum", None)))
                for point in metric.data.data_points
            ]
            for metric in data.resource_metrics[0].scope_metrics[0].metrics
        }


def test_a_handled_delivery_is_a_span_with_the_handlers_own_below_it() -> None:
    recorded = Recorded()
    receiver = Receiver("new", SECRET, clock=lambda: NOW, observer=recorded.observer)
    before = trace.get_current_span()

    @receiver.on("shipments")
    async def handler(event: Event) -> None:
        with recorded.tracers.get_tracer("shop").start_as_current_span("send voucher"):
            pass

    assert receiver.receive(signed(timestamp=NOW - 7)).status == 200
    assert trace.get_current_span() is before
    spans = recorded.spans()
    delivery = spans["karla delivery"]
    assert spans["send voucher"].parent.span_id == delivery.context.span_id
    assert (delivery.kind, delivery.status.status_code) == (SpanKind.CONSUMER, StatusCode.UNSET)
    assert dict(delivery.attributes) == {
        "http.response.status_code": 200,
        "http.request.body.size": len(BODY),
        "karla.event_group": "shipment_delivered",
        "karla.ref": "shipments/delivered/SUCCESSFULLY_DELIVERED",
        "karla.secret_index": 1,
        "karla.clock_skew": 7,
    }
    metrics = recorded.metrics()
    labels = {"http.response.status_code": 200, "karla.event_group": "shipment_delivered"}
    assert metrics["karla.delivery.duration"][0][0] == labels
    assert metrics["karla.handler.duration"][0][0] == labels
    assert metrics["http.server.request.body.size"] == [(labels, len(BODY))]
    assert metrics["karla.clock_skew"] == [({"karla.clock_skew.direction": "late"}, 7)]
    assert metrics["karla.secret.matches"] == [({"karla.secret_index": 1}, 1)]
    assert "karla.duplicates" not in metrics


def test_what_no_handler_wants_is_an_attribute_and_a_count() -> None:
    recorded = Recorded()
    receiver = Receiver(SECRET, clock=lambda: NOW, observer=recorded.observer)
    receiver.receive(signed(timestamp=NOW))

    span = recorded.spans()["karla delivery"]
    assert span.attributes["karla.unwanted"] is True
    assert span.status.status_code == StatusCode.UNSET
    labels = {"http.response.status_code": 200, "karla.event_group": "shipment_delivered"}
    assert recorded.metrics()["karla.unwanted"] == [(labels, 1)]


def test_a_skew_either_way_is_measured_without_its_sign(caplog: pytest.LogCaptureFixture) -> None:
    recorded = Recorded()
    receiver = Receiver(SECRET, clock=lambda: NOW, observer=recorded.observer)
    receiver.on("*")(lambda event: None)
    for late in (7, -5, 0):
        receiver.receive(signed(timestamp=NOW - late))

    assert recorded.metrics()["karla.clock_skew"] == [
        ({"karla.clock_skew.direction": "late"}, 7),
        ({"karla.clock_skew.direction": "early"}, 5),
    ]
    assert caplog.records == []


def test_histograms_divide_where_those_of_prometheus_do() -> None:
    recorded = Recorded()
    receiver = Receiver(SECRET, clock=lambda: NOW, observer=recorded.observer)
    receiver.on("*")(lambda event: None)
    receiver.receive(signed(timestamp=NOW - 7))

    bounds = recorded.bounds()
    assert bounds["karla.delivery.duration"] == bounds["karla.handler.duration"] == DURATION_BOUNDS
    assert bounds["http.server.request.body.size"] == BODY_BOUNDS
    assert bounds["karla.clock_skew"] == SKEW_BOUNDS


def test_an_attempt_of_a_worker_is_a_span_of_its_own() -> None:
    recorded = Recorded()
    event = parse_event(BODY)
    for reason, is_parked in ((None, False), (Reason.SIGNATURE_MISMATCH, True)):
        with attempt(recorded.observer) as seen:
            seen.event, seen.reason, seen.is_parked = event, reason, is_parked
            seen.handler_seconds = 0.1

    good, bad = recorded.finished()
    assert {good.name, bad.name} == {"karla attempt"}
    assert dict(good.attributes) == {
        "karla.outcome": "handled",
        "karla.event_group": "shipment_delivered",
        "karla.ref": "shipments/delivered/SUCCESSFULLY_DELIVERED",
    }
    assert good.status.status_code == StatusCode.UNSET
    assert bad.status.status_code == StatusCode.ERROR
    metrics = recorded.metrics()
    assert set(metrics) == {"karla.handler.duration", "karla.attempts", "karla.parked"}
    assert [labels["karla.outcome"] for labels, _ in metrics["karla.attempts"]] == [
        "handled",
        "signature_mismatch",
    ]
    assert metrics["karla.parked"] == [({}, 1)]


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (200, StatusCode.UNSET),
        (404, StatusCode.ERROR),
        (OSError(), StatusCode.ERROR),
        (RetryLater(1), StatusCode.ERROR),
        (SystemExit(), StatusCode.ERROR),
    ],
)
def test_a_genuine_delivery_that_is_not_taken_is_an_error(
    answer: int | BaseException, status: StatusCode
) -> None:
    def view(event: Event) -> int:
        if isinstance(answer, BaseException):
            raise answer
        return answer

    recorded = Recorded()
    receiver = Receiver(SECRET, clock=lambda: NOW, observer=recorded.observer)
    with suppress(SystemExit):
        receiver.receive(signed(timestamp=NOW - 7), view=view)
    (span,) = recorded.finished()
    assert span.status.status_code == status


def test_a_forgery_is_its_senders_error_and_tells_nothing_of_its_own() -> None:
    recorded = Recorded()
    receiver = Receiver(SECRET, clock=lambda: NOW, observer=recorded.observer)

    assert receiver.receive(signed(secret="another-secret", timestamp=NOW)).status == 401
    span = recorded.spans()["karla delivery"]
    assert span.status.status_code == StatusCode.UNSET
    assert dict(span.attributes) == {
        "http.response.status_code": 401,
        "http.request.body.size": len(BODY),
        "error.type": "signature_mismatch",
        "karla.event_group": "none",
    }
    assert set(recorded.metrics()) == {
        "karla.delivery.duration",
        "http.server.request.body.size",
    }


def test_a_sender_that_went_away_is_told_without_a_status() -> None:
    def chunks() -> Any:
        raise RequestError(Reason.CLIENT_DISCONNECTED)
        yield b""

    recorded = Recorded()
    receiver = Receiver(SECRET, observer=recorded.observer)
    with pytest.raises(RequestError):
        receiver.receive(signed(body=chunks()))
    span = recorded.spans()["karla delivery"]
    assert "http.response.status_code" not in span.attributes
    assert span.attributes["error.type"] == "client_disconnected"
    assert span.status.status_code == StatusCode.UNSET


@pytest.mark.parametrize(
    ("claim", "kind"),
    [
        (Claim(ClaimState.DONE), "same"),
        (Claim(ClaimState.CLAIMED, "token", is_near_duplicate=True), "other_bytes"),
    ],
)
def test_duplicates_are_counted(claim: Claim, kind: str) -> None:
    recorded = Recorded()
    receiver = Receiver(
        SECRET, clock=lambda: NOW, observer=recorded.observer, idempotency=Remembering(claim)
    )
    receiver.receive(signed(timestamp=NOW - 7))
    assert recorded.metrics()["karla.duplicates"] == [({"karla.duplicate": kind}, 1)]
    assert recorded.spans()["karla delivery"].attributes["karla.duplicate"] == kind


def test_without_an_sdk_nothing_is_recorded_and_deliveries_are_answered() -> None:
    receiver = Receiver(SECRET, clock=lambda: NOW, observer=OpenTelemetryObserver())
    assert receiver.receive(signed(timestamp=NOW - 7)).status == 200
