"""The receiver itself, in process: verification, decoding, and the whole path."""

from __future__ import annotations

import json

from prometheus_client import CollectorRegistry

from benchmarks.deliveries import (
    BODY,
    FORGED,
    SECRET,
    body_of,
    by_hand,
    hash_floor,
    request,
    typed_decode,
)
from benchmarks.slices import Work, time_slices
from benchmarks.tables import Row, Table, at_most
from karla_receiver import Event, Observer, Receiver, Verifier, parse_event, sign
from karla_receiver.adapters.opentelemetry import OpenTelemetryObserver
from karla_receiver.adapters.prometheus import PrometheusObserver

__all__ = ["decoding", "receiving", "verifying"]

_SIZES = {"1 KB": (1024, 1.05), "64 KB": (65_536, 1.02), "1 MB": (1_048_576, 1.02)}


def verifying(rounds: int) -> Table:
    """Compare Verifier.verify with the bare hash, by the body's size and the number of secrets."""
    rows: list[Row] = []
    for name, (size, goal) in _SIZES.items():
        body = body_of(size)
        works = {"floor": hash_floor(body), "verify": _verified(body, SECRET)}
        taken = time_slices(works, max(20, rounds // (1 + size // 65_536)))
        rows.append(at_most(goal, f"verify, {name}", taken["verify"], taken["floor"]))
    rotated = {"floor": hash_floor(BODY), "verify": _verified(BODY, "another-secret", SECRET)}
    taken = time_slices(rotated, rounds)
    name = "verify, 2 KB, two secrets of which the second matches"
    rows.append(at_most(2.05, name, taken["verify"], taken["floor"]))
    title = "`Verifier.verify` beside `hmac.digest` and `compare_digest` of the message ready-made"
    return Table("verify", title, tuple(rows))


def _verified(body: bytes, *secrets: str) -> Work:
    header, verify = sign(body, SECRET), Verifier(*secrets).verify
    return lambda: verify(body, header)


def decoding(rounds: int) -> Table:
    """Compare parse_event with one typed decode, and with json.loads."""
    taken = time_slices(
        {
            "typed": typed_decode(BODY),
            "loads": lambda: json.loads(BODY),
            "parse": lambda: parse_event(BODY),
        },
        rounds,
    )
    return Table(
        "decode",
        "`parse_event`, 2 KB, all checks included",
        (
            at_most(2.7, "parse_event, in typed decodes", taken["parse"], taken["typed"]),
            at_most(0.77, "parse_event, beside json.loads alone", taken["parse"], taken["loads"]),
        ),
    )


def receiving(rounds: int) -> Table:
    """Compare the whole path with what a user would write by hand, and with itself observed."""
    taken = time_slices({"by hand": by_hand(BODY), "receive": _received(200)}, rounds)
    others = time_slices(
        {
            "hash": hash_floor(BODY),
            "receive": _received(200),
            "prometheus": _received(200, PrometheusObserver(CollectorRegistry())),
            "opentelemetry": _received(200, OpenTelemetryObserver()),
            "forged": _received(401, header=FORGED),
        },
        rounds,
    )
    beside = ", beside receive without it"
    rows = (
        at_most(2.3, "receive", taken["receive"], taken["by hand"]),
        at_most(None, f"PrometheusObserver{beside}", others["prometheus"], others["receive"]),
        at_most(
            None,
            f"OpenTelemetryObserver without an SDK{beside}",
            others["opentelemetry"],
            others["receive"],
        ),
        at_most(
            None, "a forged delivery, logged, beside the hash", others["forged"], others["hash"]
        ),
    )
    title = "`Receiver.receive`, 2 KB, beside one HMAC and one typed decode by hand"
    return Table("receive", title, rows)


def _received(status: int, observer: Observer | None = None, header: str | None = None) -> Work:
    receiver = Receiver(SECRET, observer=observer)

    @receiver.on("shipments/delivered")
    def handle(event: Event) -> None:
        """Do nothing."""

    delivery = request(BODY, header or sign(BODY, SECRET))
    if receiver.receive(delivery).status != status:
        raise RuntimeError("the delivery to measure with was not answered as it should be")
    return lambda: receiver.receive(delivery)
