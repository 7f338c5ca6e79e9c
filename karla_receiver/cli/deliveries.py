"""What the demo sends: every sample, signed as Karla signs, and then what must be refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from karla_receiver import Reason, samples, sign

__all__ = [
    "FAILING_REF",
    "MAX_BODY_BYTES",
    "Delivery",
    "all_deliveries",
    "bad_deliveries",
    "genuine_deliveries",
    "refused_deliveries",
]

# The demo's receiver takes no longer body. Small, so that socket buffers hold the whole body that
# is too long: the server answers before it has read it all.
MAX_BODY_BYTES: Final = 65_536

# An event of this ref meets a handler that raises.
FAILING_REF: Final = "shipments/order_processed/HANDLER_RAISES"

_SECONDS_AN_HOUR = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One request, and what is documented to come of it.

    name: for programs; sent: for people, what is special about it. label: which of those of one
    name, where they differ.
    signature: the header's value; None for a request without it.
    reason: why it must be refused; None if it must be handled.
    """

    name: str
    sent: str
    label: str | None = None
    method: str = "POST"
    body: bytes
    content_type: str = "application/json"
    signature: str | None
    reason: Reason | None


def all_deliveries(secret: str, *, now: int) -> tuple[Delivery, ...]:
    """Return everything that the demo sends, in order.

    secret: of the webhook; now: unix seconds, by the receiver's clock.
    """
    return (*genuine_deliveries(secret, now=now), *refused_deliveries(secret, now=now))


def genuine_deliveries(secret: str, *, now: int) -> Iterator[Delivery]:
    """Return every sample, correctly signed."""
    for name in samples.names():
        body = samples.read(name)
        signature = sign(body, secret, timestamp=now)
        yield Delivery(name=name, sent=name, body=body, signature=signature, reason=None)


def refused_deliveries(secret: str, *, now: int) -> Iterator[Delivery]:
    """Return one delivery for each thing that can be wrong with one, in the demo's handlers too."""
    body = samples.read("shipment_delivered")
    yield from bad_deliveries(body, secret, now=now, oversized_bytes=MAX_BODY_BYTES + 1)
    yield from _genuine_but_unhandled(body, secret, now)


def bad_deliveries(
    body: bytes, secret: str, *, now: int, oversized_bytes: int
) -> Iterator[Delivery]:
    """Return one delivery for each thing that any receiver refuses.

    body: a JSON object, which is made bad. oversized_bytes: the length of one that is too long.
    """
    yield from _forged(body, secret, now)
    yield from _not_fresh(body, secret, now)
    yield from _bad_headers(body, secret, now)
    yield from _bad_requests(body, secret, now, oversized_bytes)
    yield from _genuine_but_unusable(body, secret, now)


def _forged(body: bytes, secret: str, now: int) -> Iterator[Delivery]:
    signature = sign(body, secret, timestamp=now)
    forged = sign(body, f"{secret}x", timestamp=now)
    middle = len(body) // 2
    altered = body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
    dumped = json.dumps(json.loads(body)).encode()
    for name, sent, claimed_body, claimed_signature in (
        ("forged", "signed with another secret", body, forged),
        ("altered", "altered by a byte after signing", altered, signature),
        ("reserialised", "same JSON, serialised anew", dumped, signature),
    ):
        yield Delivery(
            name=name,
            sent=sent,
            body=claimed_body,
            signature=claimed_signature,
            reason=Reason.SIGNATURE_MISMATCH,
        )


def _not_fresh(body: bytes, secret: str, now: int) -> Iterator[Delivery]:
    stale = sign(body, secret, timestamp=now - _SECONDS_AN_HOUR)
    early = sign(body, secret, timestamp=now + _SECONDS_AN_HOUR)
    redated = f"t={now},{stale.partition(',')[2]}"
    for name, sent, signature, reason in (
        ("stale", "signed an hour ago", stale, Reason.TIMESTAMP_TOO_OLD),
        ("redated", "signed an hour ago, dated anew", redated, Reason.SIGNATURE_MISMATCH),
        ("from_the_future", "signed an hour ahead", early, Reason.TIMESTAMP_IN_FUTURE),
    ):
        yield Delivery(name=name, sent=sent, body=body, signature=signature, reason=reason)


def _bad_headers(body: bytes, secret: str, now: int) -> Iterator[Delivery]:
    signature = sign(body, secret, timestamp=now)
    semicolon = signature.replace(",", ";")
    only_v0 = signature.replace("v1=", "v0=")
    for name, sent, header, reason in (
        ("unsigned", "no signature header", None, Reason.MISSING_SIGNATURE),
        ("malformed_header", "a semicolon in the header", semicolon, Reason.MALFORMED_HEADER),
        ("only_v0", "v0 in the header, no v1", only_v0, Reason.NO_V1),
    ):
        yield Delivery(name=name, sent=sent, body=body, signature=header, reason=reason)


def _bad_requests(body: bytes, secret: str, now: int, oversized_bytes: int) -> Iterator[Delivery]:
    too_long = body.ljust(oversized_bytes)  # blanks at the end are good JSON
    yield Delivery(
        name="oversized",
        sent="a byte over the size limit",
        body=too_long,
        signature=sign(too_long, secret, timestamp=now),
        reason=Reason.BODY_TOO_LARGE,
    )
    yield Delivery(
        name="get",
        sent="GET instead of POST",
        method="GET",
        body=b"",
        signature=sign(b"", secret, timestamp=now),
        reason=Reason.METHOD_NOT_ALLOWED,
    )


def _genuine_but_unusable(body: bytes, secret: str, now: int) -> Iterator[Delivery]:
    event = json.loads(body)
    ungrouped = {key: value for key, value in event.items() if key != "event_group"}
    for name, sent, signed_body, reason in (
        ("not_json", "signed, but not JSON", body.rstrip()[:-1], Reason.INVALID_JSON),
        ("not_an_object", "signed, but a JSON list", b"[%b]" % body, Reason.INVALID_ENVELOPE),
        ("ungrouped", "signed, without event_group", _json(ungrouped), Reason.INVALID_ENVELOPE),
    ):
        yield _signed(name, sent, signed_body, reason, secret, now)


def _genuine_but_unhandled(body: bytes, secret: str, now: int) -> Iterator[Delivery]:
    event = json.loads(body)
    unfitting = _json({**event, "event_data": {"phase": "delivered"}})
    failing = _json({**event, "ref": FAILING_REF})
    for name, sent, signed_body, reason in (
        ("unfitting", "a shipment without shipment_id", unfitting, Reason.UNDECODABLE_EVENT),
        ("failing", "an event whose handler raises", failing, Reason.HANDLER_ERROR),
    ):
        yield _signed(name, sent, signed_body, reason, secret, now)


def _signed(name: str, sent: str, body: bytes, reason: Reason, secret: str, now: int) -> Delivery:
    signature = sign(body, secret, timestamp=now)
    return Delivery(name=name, sent=sent, body=body, signature=signature, reason=reason)


def _json(event: object) -> bytes:
    return json.dumps(event).encode()
