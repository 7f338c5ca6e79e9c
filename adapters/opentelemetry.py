"""OpenTelemetry: a span and measurements for every delivery. Needs the extra `opentelemetry`.

Only the API is used: without an SDK in the application nothing is recorded, at hardly any cost.
Names follow the semantic conventions where those have one (HTTP, error.type).
"""

from __future__ import annotations

from collections.abc import Callable

from opentelemetry import context, metrics, trace
from opentelemetry.trace import SpanKind, StatusCode

from karla_receiver import Observation

__all__ = ["OpenTelemetryObserver"]

_NAME = "karla_receiver"
_Attributes = dict[str, str | int | float | bool]


class OpenTelemetryObserver:
    """Traces and measures deliveries, for `Receiver(..., observer=OpenTelemetryObserver())`.

    tracer_provider, meter_provider: the global ones if left out.

    The span `karla delivery` is current while the handlers run, so that theirs become its
    children. Attributes: http.response.status_code, http.request.body.size, error.type (the
    reason of a refusal), karla.event_group, karla.ref, karla.clock_skew, karla.secret_index,
    karla.duplicate. Metrics: karla.delivery.duration and karla.handler.duration in seconds,
    karla.clock_skew in seconds, of genuine deliveries; karla.secret.matches, karla.duplicates.
    """

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        self._tracer = trace.get_tracer(_NAME, tracer_provider=tracer_provider)
        meter = metrics.get_meter(_NAME, meter_provider=meter_provider)
        self._duration = meter.create_histogram(
            "karla.delivery.duration", "s", "From the request to its answer"
        )
        self._handler_duration = meter.create_histogram(
            "karla.handler.duration", "s", "In the handlers of one delivery"
        )
        self._skew = meter.create_histogram(
            "karla.clock_skew", "s", "Our clock less the timestamp of a genuine delivery"
        )
        self._matches = meter.create_counter(
            "karla.secret.matches", "{delivery}", "Genuine deliveries by the secret that matched"
        )
        self._duplicates = meter.create_counter(
            "karla.duplicates", "{delivery}", "Deliveries that came before"
        )

    def begin(self) -> Callable[[Observation], object]:
        """Start a span for the request that comes, and make it the current one."""
        span = self._tracer.start_span("karla delivery", kind=SpanKind.CONSUMER)
        token = context.attach(trace.set_span_in_context(span))

        def finish(observation: Observation) -> None:
            try:
                span.set_attributes(_span_attributes(observation))
                if observation.reason is not None or observation.status is None:
                    span.set_status(StatusCode.ERROR, observation.reason)
                self._measure(observation)
            finally:
                span.end()
                context.detach(token)

        return finish

    def _measure(self, observation: Observation) -> None:
        attributes = _metric_attributes(observation)
        self._duration.record(observation.seconds, attributes)
        if observation.handler_seconds is not None:
            self._handler_duration.record(observation.handler_seconds, attributes)
        if observation.clock_skew is not None:
            self._skew.record(observation.clock_skew)
        if observation.secret_index is not None:
            self._matches.add(1, {"karla.secret_index": observation.secret_index})
        if observation.is_duplicate or observation.is_near_duplicate:
            kind = "same" if observation.is_duplicate else "other_bytes"
            self._duplicates.add(1, {"karla.duplicate": kind})


def _metric_attributes(observation: Observation) -> _Attributes:
    """Return what has few values, whatever a sender does."""
    attributes: _Attributes = {}
    if observation.status is not None:
        attributes["http.response.status_code"] = observation.status
    if observation.reason is not None:
        attributes["error.type"] = str(observation.reason)
    attributes["karla.event_group"] = observation.known_group
    return attributes


def _span_attributes(observation: Observation) -> _Attributes:
    attributes = _metric_attributes(observation)
    attributes["http.request.body.size"] = observation.body_bytes
    if observation.event is not None:
        attributes["karla.event_group"] = observation.event.event_group
        attributes["karla.ref"] = observation.event.ref or ""
    if observation.secret_index is not None:
        attributes["karla.secret_index"] = observation.secret_index
    if observation.clock_skew is not None:
        attributes["karla.clock_skew"] = observation.clock_skew
    if observation.is_duplicate:
        attributes["karla.duplicate"] = True
    return attributes
