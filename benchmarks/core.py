"""The receiver itself, in process: verification, decoding, the whole path, refusals, rotation."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from functools import partial

import stripe
from prometheus_client import CollectorRegistry

from benchmarks.deliveries import BODY, FORGED, SECRET, body_of, hash_floor, request, typed_decode
from benchmarks.slices import Samples, Work, time_slices
from benchmarks.tables import Row, Table, at_least, at_most, figure
from karla_receiver import (
    Event,
    Observation,
    Observer,
    Receiver,
    SignatureError,
    Verifier,
    parse_event,
    sign,
)
from karla_receiver.adapters.opentelemetry import OpenTelemetryObserver
from karla_receiver.adapters.prometheus import PrometheusObserver

__all__ = ["decoding", "growth", "observing", "receiving", "refusing", "rotating", "verifying"]

_SIZES = {"1 KB": 1024, "4 KB": 4096, "64 KB": 65_536, "1 MB": 1_048_576}
_GOALS = {"1 KB": 1.05, "4 KB": 1.05, "64 KB": 1.02, "1 MB": 1.02}
_STRIPE_GOALS = {"1 KB": 2.5, "1 MB": 3.5}


def verifying(rounds: int) -> Table:
    """Compare Verifier.verify with the bare hash, and with stripe's verifier."""
    rows: list[Row] = []
    stripes: list[Row] = []
    for name, size in _SIZES.items():
        body = body_of(size)
        header = sign(body, SECRET)
        verify = Verifier(SECRET).verify
        subjects: dict[str, Work] = {
            "floor": hash_floor(body),
            "verify": lambda: verify(body, header),  # noqa: B023 - used in this round only
        }
        if name in _STRIPE_GOALS:
            subjects["stripe"] = _stripe(body, header)
        taken = time_slices(subjects, max(20, rounds // (1 + size // 65_536)))
        rows.append(at_most(_GOALS[name], f"verify, {name}", taken["verify"], taken["floor"]))
        if name in _STRIPE_GOALS:
            stripes.append(
                at_least(
                    _STRIPE_GOALS[name],
                    f"verify, beside stripe's verify_header, {name}",
                    taken["verify"],
                    taken["stripe"],
                )
            )
    title = "`Verifier.verify` beside `hmac.digest` and `compare_digest` of the message ready-made"
    return Table("verify", title, (*rows, *stripes))


def _stripe(body: bytes, header: str) -> Work:
    verify_header = stripe.WebhookSignature.verify_header
    # It takes text, and a server hands out bytes.
    return lambda: verify_header(body.decode(), header, SECRET, 300)


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
            at_least(1.3, "parse_event, beside json.loads alone", taken["parse"], taken["loads"]),
        ),
    )


def receiving(rounds: int) -> Table:
    """Compare the whole path with the sum of the two floors."""
    receiver = _receiver()
    good = request(BODY, sign(BODY, SECRET))
    if receiver.receive(good).status != 200:
        raise RuntimeError("the delivery to measure with was refused")
    taken = time_slices(
        {
            "hash": hash_floor(BODY),
            "typed": typed_decode(BODY),
            "receive": lambda: receiver.receive(good),
        },
        rounds,
    )
    floor = _sum(taken["hash"], taken["typed"])
    return Table(
        "receive",
        "`Receiver.receive`, 2 KB, one handler that does nothing, beside hash floor + typed decode",
        (at_most(2.1, "receive", taken["receive"], floor),),
    )


def observing(rounds: int) -> Table:
    """Compare the whole path under each observer with the one without."""

    class Idle:
        def begin(self) -> Callable[[Observation], object]:
            return self.finish

        def finish(self, observation: Observation) -> None:
            """Do nothing."""

    observers: dict[str, Observer | None] = {
        "no observer": None,
        "an observer that does nothing": Idle(),
        "PrometheusObserver": PrometheusObserver(CollectorRegistry()),
        "OpenTelemetryObserver, no SDK": OpenTelemetryObserver(),
    }
    good = request(BODY, sign(BODY, SECRET))
    subjects: dict[str, Work] = {"plain": partial(_receiver().receive, good)}
    for name, observer in observers.items():
        subjects[name] = partial(_receiver(observer).receive, good)
    taken = time_slices(subjects, rounds)
    return Table(
        "observe",
        "`Receiver.receive`, 2 KB, with each observer, beside one that was given none",
        tuple(at_most(None, name, taken[name], taken["plain"]) for name in observers),
    )


def refusing(rounds: int) -> Table:
    """Compare the refusals that a stranger can cause with the bare hash."""
    receiver, verifier = _receiver(), Verifier(SECRET)
    forged, malformed = request(BODY, FORGED), request(BODY, "nonsense")
    logger = logging.getLogger("karla_receiver")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False

    def at(level: int, receive: Callable[[], object]) -> Work:
        def work() -> None:
            logger.disabled = level > logging.CRITICAL
            receive()

        return work

    off, on = logging.CRITICAL + 1, logging.WARNING
    taken = time_slices(
        {
            "floor": hash_floor(BODY),
            "forged": _refused(verifier, FORGED),
            "malformed": _refused(verifier, "nonsense"),
            "no signature": _refused(verifier, None),
            "forged, receive": at(off, lambda: receiver.receive(forged)),
            "forged, receive, log": at(on, lambda: receiver.receive(forged)),
            "malformed, receive": at(off, lambda: receiver.receive(malformed)),
            "malformed, receive, log": at(on, lambda: receiver.receive(malformed)),
        },
        rounds,
    )
    logger.disabled = False
    goals = {"forged": 1.3, "malformed": 0.5}
    names = {
        "forged": "a forged delivery, Verifier",
        "malformed": "a malformed header, Verifier",
        "no signature": "no header, Verifier",
        "forged, receive": "a forged delivery, Receiver, log off",
        "forged, receive, log": "a forged delivery, Receiver, logged",
        "malformed, receive": "a malformed header, Receiver, log off",
        "malformed, receive, log": "a malformed header, Receiver, logged",
    }
    return Table(
        "refuse",
        "Refusing 2 KB, beside the hash floor",
        tuple(
            at_most(goals.get(key), name, taken[key], taken["floor"]) for key, name in names.items()
        ),
    )


def _refused(verifier: Verifier, header: str | None) -> Work:
    def work() -> None:
        with_error = False
        try:
            verifier.verify(BODY, header)
        except SignatureError:
            with_error = True
        if not with_error:
            raise RuntimeError("a forged delivery was accepted")

    return work


def rotating(rounds: int) -> Table:
    """Count the hashes that each further secret costs, the matching one being the last."""
    header = sign(BODY, SECRET)
    subjects: dict[str, Work] = {"floor": hash_floor(BODY)}
    for count in (1, 2, 5):
        verify = Verifier(*(f"another-secret-{n}" for n in range(count - 1)), SECRET).verify
        subjects[str(count)] = lambda verify=verify: verify(BODY, header)  # type: ignore[misc]
    taken = time_slices(subjects, rounds)
    floor = taken["floor"].best
    rows = [at_most(None, "verify, 1 secret", taken["1"], taken["floor"])]
    for count in (2, 5):
        each = (taken[str(count)].best - taken["1"].best) / (count - 1) / floor
        rows.append(figure(1.0, f"hashes for each further secret, {count} secrets", each))
    return Table("secrets", "The same receiver, secrets 1, 2, 5 (2 KB)", tuple(rows))


def growth(rounds: int) -> Table:
    """Follow the cost over body size, number of secrets and number of v1: what is plotted."""
    rows: list[Row] = []
    for size in (256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576):
        body = body_of(size)
        header = sign(body, SECRET)
        verify = Verifier(SECRET).verify
        taken = time_slices(
            {
                "floor": hash_floor(body),
                "verify": lambda: verify(body, header),  # noqa: B023 - as above
                "receive": _accepting(body, header),
            },
            max(20, rounds // (2 + size // 16_384)),
        )
        for series in ("verify", "receive"):
            name = f"{series}, {size:,} bytes"
            rows.append(
                at_most(None, name, taken[series], taken["floor"], series=f"{series}/size", x=size)
            )
    subjects: dict[str, Work] = {"floor": hash_floor(BODY)}
    for count in (1, 2, 3, 4, 5, 8):
        subjects[f"secrets {count}"] = _with_secrets(count)
    for count in (1, 2, 4, 8, 16):
        subjects[f"v1 {count}"] = _with_signatures(count)
    taken = time_slices(subjects, rounds // 2)
    for name in [name for name in subjects if name != "floor"]:
        kind, _, number = name.partition(" ")
        label = f"{number} {kind}, the last matches"
        rows.append(at_most(None, label, taken[name], taken["floor"], series=kind, x=float(number)))
    return Table("growth", "What grows with what, beside the hash floor", tuple(rows))


def _accepting(body: bytes, header: str) -> Work:
    receiver, good = _receiver(), request(body, header)
    return lambda: receiver.receive(good)


def _with_secrets(count: int) -> Work:
    verify = Verifier(*(f"another-secret-{n}" for n in range(count - 1)), SECRET).verify
    header = sign(BODY, SECRET)
    return lambda: verify(BODY, header)


def _with_signatures(count: int) -> Work:
    moment, _, genuine = sign(BODY, SECRET).partition(",")
    header = ",".join([moment, *(f"v1={n:064x}" for n in range(count - 1)), genuine])
    verify = Verifier(SECRET).verify
    return lambda: verify(BODY, header)


def _receiver(observer: Observer | None = None) -> Receiver:
    receiver = Receiver(SECRET, observer=observer)

    @receiver.on("shipments/delivered")
    def handle(event: Event) -> None:
        """Do nothing."""

    return receiver


def _sum(one: Samples, other: Samples) -> Samples:
    pairs = zip(one.seconds, other.seconds, strict=True)
    sums = [first + second for first, second in pairs]
    return Samples([one.best + other.best, *sums[1:]])
