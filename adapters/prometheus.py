"""Prometheus: counts and times every delivery. Needs the extra `prometheus`.

Right under several workers too: prometheus_client's multiprocess mode is all it takes
(https://prometheus.github.io/client_python/multiprocess/).
"""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from karla_receiver import Observation

__all__ = ["PrometheusObserver"]

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SKEW = (-300, -60, -10, -2, 0, 2, 10, 60, 300)
_BYTES = (1_024, 2_048, 4_096, 16_384, 65_536, 262_144, 1_048_576)


class PrometheusObserver:
    """Counts deliveries in Prometheus's terms, for `Receiver(..., observer=PrometheusObserver())`.

    registry: where the metrics are registered, once a process: give one observer to all
    receivers. Each label has few values, whatever a sender does:

    karla_deliveries_total{status, reason, event_group}: what was answered; reason "none" for
    success, event_group "none" until a delivery is verified, "other" for one Karla added later.
    karla_delivery_seconds, karla_handler_seconds, karla_body_bytes: histograms.
    karla_clock_skew_seconds: our clock less the signed timestamp, of genuine deliveries only.
    karla_duplicates_total{kind}: "same" delivery, or the same occurrence in "other_bytes".
    karla_secret_matches_total{secret}, karla_secret_last_match_timestamp_seconds{secret}: which
    of the configured secrets is in use, "0" the first one.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._deliveries = Counter(
            "karla_deliveries",
            "Requests to the webhook, by answer",
            ("status", "reason", "event_group"),
            registry=registry,
        )
        self._seconds = Histogram(
            "karla_delivery_seconds",
            "From the request to its answer",
            buckets=_SECONDS,
            registry=registry,
        )
        self._handler_seconds = Histogram(
            "karla_handler_seconds",
            "In the handlers of one delivery",
            buckets=_SECONDS,
            registry=registry,
        )
        self._bytes = Histogram(
            "karla_body_bytes", "Of the body that were read", buckets=_BYTES, registry=registry
        )
        self._skew = Histogram(
            "karla_clock_skew_seconds",
            "Our clock less the timestamp of a genuine delivery",
            buckets=_SKEW,
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

    def begin(self) -> Callable[[Observation], object]:
        """Take what becomes of the request that comes."""
        return self._count

    def _count(self, observation: Observation) -> None:
        self._deliveries.labels(
            "none" if observation.status is None else str(observation.status),
            "none" if observation.reason is None else str(observation.reason),
            observation.known_group,
        ).inc()
        self._seconds.observe(observation.seconds)
        self._bytes.observe(observation.body_bytes)
        if observation.handler_seconds is not None:
            self._handler_seconds.observe(observation.handler_seconds)
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
