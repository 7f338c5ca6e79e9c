"""Prometheus: counts and times every delivery. Needs the extra `prometheus`.

Right under several workers too: prometheus_client's multiprocess mode is all it takes
(https://prometheus.github.io/client_python/multiprocess/).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import product

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from karla_receiver import ConfigurationError, Observation
from karla_receiver.errors import STATUS, Reason
from karla_receiver.observing import BODY_BOUNDS, DURATION_BOUNDS, SKEW_BOUNDS
from karla_receiver.vocabulary import GROUPS

__all__ = ["PrometheusObserver"]

_SKEW = (*(-bound for bound in reversed(SKEW_BOUNDS)), 0, *SKEW_BOUNDS)
# What comes of a genuine delivery that is not handled, of whatever event group.
_LOST = (Reason.HANDLER_ERROR, Reason.UNDECODABLE_EVENT, Reason.RETRY_LATER, Reason.UNAVAILABLE)


class PrometheusObserver:
    """Counts deliveries in Prometheus's terms, for `Receiver(..., observer=PrometheusObserver())`.

    registry: where the metrics are registered, once a process: give one observer to all
    receivers. Each label has few values, whatever a sender does:

    karla_deliveries_total{status, reason, event_group}: what was answered; reason "none" for
    success, event_group "none" until a delivery is verified, "other" for one Karla added later.
    karla_delivery_seconds, karla_handler_seconds, karla_body_bytes: histograms.
    karla_clock_skew_seconds: our clock less the signed timestamp, of genuine deliveries only.
    karla_unwanted_total{event_group}: deliveries that no handler wants, where handlers run: in a
    request, or in an inbox's worker.
    karla_duplicates_total{kind}: "same" delivery, or the same occurrence in "other_bytes".
    karla_secret_matches_total{secret}, karla_secret_last_match_timestamp_seconds{secret}: which
    of the configured secrets is in use, "0" the first one.
    karla_attempts_total{outcome, event_group}: of an inbox's worker; "handled", "discarded",
    "unwanted" or a reason. karla_parked_total: deliveries that it keeps as failed.

    Refusals, duplicates, unwanted deliveries and failed attempts are there from the start, as 0, so
    that increase() sees the first one. Raises ConfigurationError if the registry has the metrics
    already.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        try:
            self._register(registry)
        except ValueError as error:
            raise ConfigurationError(
                "this registry has Karla's metrics already: make one PrometheusObserver for the"
                " process, outside of what makes an app, and give it to all receivers"
            ) from error
        for reason, status in STATUS.items():
            self._deliveries.labels("none" if status is None else status, reason, "none")
        for reason, group in product(_LOST, (*GROUPS, "other")):
            self._deliveries.labels(STATUS[reason], reason, group)
            self._attempts.labels(reason, group)
        for group in (*GROUPS, "other"):
            self._unwanted.labels(group)
        for kind in ("same", "other_bytes"):
            self._duplicates.labels(kind)

    def _register(self, registry: CollectorRegistry) -> None:
        self._deliveries = Counter(
            "karla_deliveries",
            "Requests to the webhook, by answer",
            ("status", "reason", "event_group"),
            registry=registry,
        )
        self._seconds = Histogram(
            "karla_delivery_seconds",
            "From the request to its answer",
            buckets=DURATION_BOUNDS,
            registry=registry,
        )
        self._handler_seconds = Histogram(
            "karla_handler_seconds",
            "In the handlers of one delivery",
            buckets=DURATION_BOUNDS,
            registry=registry,
        )
        self._bytes = Histogram(
            "karla_body_bytes", "Of the body that were read", buckets=BODY_BOUNDS, registry=registry
        )
        self._skew = Histogram(
            "karla_clock_skew_seconds",
            "Our clock less the timestamp of a genuine delivery",
            buckets=_SKEW,
            registry=registry,
        )
        self._unwanted = Counter(
            "karla_unwanted",
            "Genuine deliveries that no handler wants",
            ("event_group",),
            registry=registry,
        )
        self._duplicates = Counter(
            "karla_duplicates", "Deliveries that came before", ("kind",), registry=registry
        )
        self._matches = Counter(
            "karla_secret_matches",
            "Genuine deliveries by the secret they were signed with",
            ("secret",),
            registry=registry,
        )
        self._last_match = Gauge(
            "karla_secret_last_match_timestamp_seconds",
            "When a secret was last seen in use",
            ("secret",),
            registry=registry,
            multiprocess_mode="max",
        )
        self._attempts = Counter(
            "karla_attempts",
            "Attempts of an inbox's worker, by what came of them",
            ("outcome", "event_group"),
            registry=registry,
        )
        self._parked = Counter(
            "karla_parked", "Deliveries that an inbox keeps as failed", registry=registry
        )

    def begin(self) -> Callable[[Observation], object]:
        """Take what becomes of the request that comes, or of the attempt that begins."""
        return self._count

    def _count(self, observation: Observation) -> None:
        if observation.handler_seconds is not None:
            self._handler_seconds.observe(observation.handler_seconds)
        if observation.is_unwanted:
            self._unwanted.labels(observation.known_group).inc()
        if observation.is_attempt:
            self._attempts.labels(observation.outcome, observation.known_group).inc()
            if observation.is_parked:
                self._parked.inc()
        else:
            self._count_request(observation)

    def _count_request(self, observation: Observation) -> None:
        self._deliveries.labels(
            "none" if observation.status is None else str(observation.status),
            "none" if observation.reason is None else str(observation.reason),
            observation.known_group,
        ).inc()
        self._seconds.observe(observation.seconds)
        self._bytes.observe(observation.body_bytes)
        if observation.clock_skew is not None:
            self._skew.observe(observation.clock_skew)
        if observation.is_duplicate:
            self._duplicates.labels("same").inc()
        if observation.is_near_duplicate:
            self._duplicates.labels("other_bytes").inc()
        if observation.secret_index is not None:
            secret = str(observation.secret_index)
            self._matches.labels(secret).inc()
            self._last_match.labels(secret).set(time.time())
