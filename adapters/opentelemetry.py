"""OpenTelemetry: a span and measurements for every delivery. Needs the extra `opentelemetry`.

Only the API is used: without an SDK in the application nothing is recorded, at hardly any cost.
Names follow the semantic conventions where those have one (HTTP, error.type).
"""

from __future__ import annotations

from collections.abc import Callable

from opentelemetry import context, metrics, trace
from opentelemetry.trace import SpanKind, StatusCode

from karla_receiver import Observation
from karla_receiver.errors import STATUS
from karla_receiver.observing import BODY_BOUNDS, DURATION_BOUNDS, SKEW_BOUNDS

__all__ = ["OpenTelemetryObserver"]

_NAME = "karla_receiver"
_Attributes = dict[str, str | int | float | bool]


class OpenTelemetryObserver:
    """Traces and measures deliveries, for `Receiver(..., observer=OpenTelemetryObserver())`.

    tracer_provider, meter_provider: the global ones if left out.

    The span `karla delivery` is current while the handlers run, so that theirs become its
    children; with an inbox they run in `karla attempt`, a span for each attempt of its worker.
    Attributes: http.response.status_code, http.request.body.size, error.type (the reason of a
    refusal), karla.event_group, karla.ref, karla.clock_skew, karla.secret_index, karla.duplicate
    ("same" delivery, or the same occurrence in "other_bytes"), karla.unwanted if no handler wants
    the event, karla.outcome of an attempt.
    The status is an error if a genuine delivery was not taken: a handler failed, or a store, or
    it was broken off. What is refused because of what was sent leaves it unset, as HTTP's
    conventions have it for a 4xx on a server's span: strangers must not spoil an error rate. The
    handler's exception is in the log alone: its text may hold personal data.

    Metrics: karla.delivery.duration and karla.handler.duration in seconds,
    http.server.request.body.size; karla.clock_skew in seconds, of genuine deliveries, its
    karla.clock_skew.direction "late" or "early"; karla.secret.matches, karla.duplicates,
    karla.unwanted, karla.attempts by karla.outcome, karla.parked. The histograms divide where
    those of PrometheusObserver do, unless a view of the SDK says otherwise.
    """

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        self._tracer = trace.get_tracer(_NAME, tracer_provider=tracer_provider)
        meter = metrics.get_meter(_NAME, meter_provider=meter_provider)
        self._duration = meter.create_histogram(
            "karla.delivery.duration",
            "s",
            "From the request to its answer",
            explicit_bucket_boundaries_advisory=DURATION_BOUNDS,
        )
        self._handler_duration = meter.create_histogram(
            "karla.handler.duration",
            "s",
            "In the handlers of one delivery",
            explicit_bucket_boundaries_advisory=DURATION_BOUNDS,
        )
        self._bytes = meter.create_histogram(
            "http.server.request.body.size",
            "By",
            "Of the body that were read",
            explicit_bucket_boundaries_advisory=BODY_BOUNDS,
        )
        self._skew = meter.create_histogram(
            "karla.clock_skew",
            "s",
            "Between our clock and the timestamp of a genuine delivery",
            explicit_bucket_boundaries_advisory=SKEW_BOUNDS,
        )
        self._matches = meter.create_counter(
            "karla.secret.matches", "{delivery}", "Genuine deliveries by the secret that matched"
        )
        self._duplicates = meter.create_counter(
            "karla.duplicates", "{delivery}", "Deliveries that came before"
        )
        self._unwanted = meter.create_counter(
            "karla.unwanted", "{delivery}", "Genuine deliveries that no handler wants"
        )
        self._attempts = meter.create_counter(
            "karla.attempts", "{attempt}", "Of an inbox's worker, by what came of them"
        )
        self._parked = meter.create_counter(
            "karla.parked", "{delivery}", "Deliveries that an inbox keeps as failed"
        )

    def begin(self) -> Callable[[Observation], object]:
        """Start a span for the request or the attempt, and make it the current one."""
        span = self._tracer.start_span("karla delivery", kind=SpanKind.CONSUMER)
        token = context.attach(trace.set_span_in_context(span))

        def finish(observation: Observation) -> None:
            try:
                if observation.is_attempt:
                    span.update_name("karla attempt")
                span.set_attributes(_span_attributes(observation))
                if _is_error(observation):
                    span.set_status(StatusCode.ERROR, observation.reason)
                self._measure(observation)
            finally:
                span.end()
                context.detach(token)

        return finish

    def _measure(self, observation: Observation) -> None:
        attributes = _metric_attributes(observation)
        if observation.handler_seconds is not None:
            self._handler_duration.record(observation.handler_seconds, attributes)
        if observation.is_unwanted:
            self._unwanted.add(1, attributes)
        if observation.is_attempt:
            self._attempts.add(1, attributes)
            if observation.is_parked:
                self._parked.add(1)
            return
        self._duration.record(observation.seconds, attributes)
        self._bytes.record(observation.body_bytes, attributes)
        if observation.clock_skew is not None:
            # A histogram of OpenTelemetry takes no negative number.
            direction = "late" if observation.clock_skew >= 0 else "early"
            self._skew.record(
                abs(observation.clock_skew), {"karla.clock_skew.direction": direction}
            )
        if observation.secret_index is not None:
            self._matches.add(1, {"karla.secret_index": observation.secret_index})
        duplicate = _duplicate(observation)
        if duplicate is not None:
            self._duplicates.add(1, {"karla.duplicate": duplicate})


def _is_error(observation: Observation) -> bool:
    if observation.reason is None:
        return observation.status is None and not observation.is_attempt
    # By the reason, not by what was answered: a view's own 404 is an event not taken.
    status = STATUS[observation.reason]
    return observation.is_parked or (status is not None and status >= 500)


def _duplicate(observation: Observation) -> str | None:
    if observation.is_duplicate:
        return "same"
    return "other_bytes" if observation.is_near_duplicate else None


def _metric_attributes(observation: Observation) -> _Attributes:
    """Return what has few values, whatever a sender does."""
    attributes: _Attributes = {}
    if observation.status is not None:
        attributes["http.response.status_code"] = observation.status
    if observation.reason is not None:
        attributes["error.type"] = str(observation.reason)
    if observation.is_attempt:
        attributes["karla.outcome"] = observation.outcome
    attributes["karla.event_group"] = observation.known_group
    return attributes


def _span_attributes(observation: Observation) -> _Attributes:
    attributes = _metric_attributes(observation)
    if not observation.is_attempt:
        attributes["http.request.body.size"] = observation.body_bytes
    if observation.event is not None:
        attributes["karla.event_group"] = observation.event.event_group
        attributes["karla.ref"] = observation.event.ref or ""
    if observation.secret_index is not None:
        attributes["karla.secret_index"] = observation.secret_index
    if observation.clock_skew is not None:
        attributes["karla.clock_skew"] = observation.clock_skew
    if observation.is_unwanted:
        attributes["karla.unwanted"] = True
    duplicate = _duplicate(observation)
    if duplicate is not None:
        attributes["karla.duplicate"] = duplicate
    return attributes
