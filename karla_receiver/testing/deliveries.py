"""Deliveries: an event's bytes under a signature, and the bad kinds that must be refused."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum, unique
from types import MappingProxyType
from typing import Final

from karla_receiver.checks import checked_body
from karla_receiver.errors import ConfigurationError, Reason
from karla_receiver.signature import HEADER, sign
from karla_receiver.testing.json_values import is_object

__all__ = ["BadKind", "Delivery", "bad_delivery", "signed_delivery"]

_CONTENT_TYPE = ("Content-Type", "application/json")
_SECONDS_AN_HOUR = 3600
_ANOTHER_SECRET = "not-the-secret-of-this-endpoint"  # noqa: S105 - that is the point of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One request, as it goes over the wire. An inbox keeps a `karla_receiver.inbox.Delivery`.

    headers: pairs of name and value; a text's code points 0 to 255 are the bytes on the wire.
    query: of the URL, without the question mark.
    reason: why a receiver must refuse it; None if it must be accepted.
    """

    method: str = "POST"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    query: str = ""
    reason: Reason | None = None

    @property
    def signature(self) -> str | None:
        """The value of the Karla-Signature header; None if it was not sent."""
        return next((value for name, value in self.headers if name == HEADER), None)

    def __repr__(self) -> str:
        # A live signature has no place in the report of a failed test.
        reason = "" if self.reason is None else f", to be refused: {self.reason}"
        return f"<Delivery {self.method[:20]!a}, {len(self.body)} bytes{reason}>"


def signed_delivery(body: bytes, secret: str | bytes, *, timestamp: int | None = None) -> Delivery:
    """Return what Karla would send for a body.

    timestamp: unix seconds; the present time if left out.
    Raises ConfigurationError for an unusable secret or timestamp, TypeError for a body that is
    not bytes.
    """
    return _delivery(body, sign(body, secret, timestamp=timestamp))


@unique
class BadKind(StrEnum):
    """What can be wrong with a delivery."""

    FORGED = "forged"
    ALTERED = "altered"
    RESERIALISED = "reserialised"
    LATE = "late"
    REDATED = "redated"
    EARLY = "early"
    UNSIGNED = "unsigned"
    MALFORMED_HEADER = "malformed_header"
    ONLY_V0 = "only_v0"
    OVERSIZED = "oversized"
    GET = "get"
    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    WITHOUT_EVENT_GROUP = "without_event_group"


def bad_delivery(
    kind: BadKind | str,
    body: bytes,
    secret: str | bytes,
    *,
    now: int | None = None,
    max_body_bytes: int = 1_048_576,
) -> Delivery:
    """Return a delivery of a body that a receiver must refuse, with the reason it must give.

    kind: a `BadKind`, or its text, as in "forged".
    body: of a good event: a JSON object.
    now: what the receiver's clock shows, in unix seconds; the present time if left out.
    max_body_bytes: what the receiver takes; "oversized" is at least a byte longer.
    Raises ConfigurationError for an unknown kind, an unusable secret, or a body that is not a
    JSON object, or one that is nested too deeply.
    """
    moment = int(time.time()) if now is None else now
    if kind not in _BAD:
        kinds = ", ".join(BadKind)
        raise ConfigurationError(f"no kind of bad delivery is called {kind!a}: there are {kinds}")
    reason, make = _BAD[BadKind(kind)]
    good = checked_body(body)
    if kind == BadKind.OVERSIZED:
        good = bytes(good).ljust(max_body_bytes + 1)  # blanks at the end are good JSON
    try:
        return replace(make(good, secret, moment), reason=reason)
    except RecursionError:
        raise ConfigurationError("body is nested too deeply to be made bad") from None


def _delivery(body: bytes, signature: str) -> Delivery:
    return Delivery(headers=(_CONTENT_TYPE, (HEADER, signature)), body=body)


def _late(body: bytes, secret: str | bytes, now: int) -> Delivery:
    return signed_delivery(body, secret, timestamp=now - _SECONDS_AN_HOUR)


def _early(body: bytes, secret: str | bytes, now: int) -> Delivery:
    return signed_delivery(body, secret, timestamp=now + _SECONDS_AN_HOUR)


def _redated(body: bytes, secret: str | bytes, now: int) -> Delivery:
    stale = sign(body, secret, timestamp=now - _SECONDS_AN_HOUR)
    return _delivery(body, f"t={now},{stale.partition(',')[2]}")


def _forged(body: bytes, secret: str | bytes, now: int) -> Delivery:
    return signed_delivery(body, _ANOTHER_SECRET, timestamp=now)


def _altered(body: bytes, secret: str | bytes, now: int) -> Delivery:
    # Still JSON and still the same event: only the MAC can tell.
    return _delivery(body + b" ", sign(body, secret, timestamp=now))


def _reserialised(body: bytes, secret: str | bytes, now: int) -> Delivery:
    event = _object(body)
    # As a view does that parses too early; unless the body was written so.
    written = json.dumps(event).encode()
    anew = json.dumps(event, indent=1).encode() if written == body else written
    return _delivery(anew, sign(body, secret, timestamp=now))


def _unsigned(body: bytes, secret: str | bytes, now: int) -> Delivery:
    return Delivery(headers=(_CONTENT_TYPE,), body=body)


def _malformed_header(body: bytes, secret: str | bytes, now: int) -> Delivery:
    return _delivery(body, sign(body, secret, timestamp=now).replace(",", ";"))


def _only_v0(body: bytes, secret: str | bytes, now: int) -> Delivery:
    return _delivery(body, sign(body, secret, timestamp=now).replace("v1=", "v0="))


def _oversized(body: bytes, secret: str | bytes, now: int) -> Delivery:
    return signed_delivery(body, secret, timestamp=now)


def _get(body: bytes, secret: str | bytes, now: int) -> Delivery:
    return replace(signed_delivery(body, secret, timestamp=now), method="GET")


def _not_json(body: bytes, secret: str | bytes, now: int) -> Delivery:
    return signed_delivery(body + b"}", secret, timestamp=now)


def _not_an_object(body: bytes, secret: str | bytes, now: int) -> Delivery:
    return signed_delivery(b"[%b]" % body, secret, timestamp=now)


def _without_event_group(body: bytes, secret: str | bytes, now: int) -> Delivery:
    rest = {key: value for key, value in _object(body).items() if key != "event_group"}
    return signed_delivery(json.dumps(rest).encode(), secret, timestamp=now)


def _object(body: bytes) -> dict[str, object]:
    try:
        value: object = json.loads(body)
    except ValueError:
        value = None
    if not is_object(value):
        raise ConfigurationError("a bad delivery is made from a good event: body must be an object")
    return value


_Maker = Callable[[bytes, str | bytes, int], Delivery]

_BAD: Final[Mapping[BadKind, tuple[Reason, _Maker]]] = MappingProxyType(
    {
        BadKind.FORGED: (Reason.SIGNATURE_MISMATCH, _forged),
        BadKind.ALTERED: (Reason.SIGNATURE_MISMATCH, _altered),
        BadKind.RESERIALISED: (Reason.SIGNATURE_MISMATCH, _reserialised),
        BadKind.LATE: (Reason.TIMESTAMP_TOO_OLD, _late),
        BadKind.REDATED: (Reason.SIGNATURE_MISMATCH, _redated),
        BadKind.EARLY: (Reason.TIMESTAMP_IN_FUTURE, _early),
        BadKind.UNSIGNED: (Reason.MISSING_SIGNATURE, _unsigned),
        BadKind.MALFORMED_HEADER: (Reason.MALFORMED_HEADER, _malformed_header),
        BadKind.ONLY_V0: (Reason.NO_V1, _only_v0),
        BadKind.OVERSIZED: (Reason.BODY_TOO_LARGE, _oversized),
        BadKind.GET: (Reason.METHOD_NOT_ALLOWED, _get),
        BadKind.NOT_JSON: (Reason.INVALID_JSON, _not_json),
        BadKind.NOT_AN_OBJECT: (Reason.INVALID_ENVELOPE, _not_an_object),
        BadKind.WITHOUT_EVENT_GROUP: (Reason.INVALID_ENVELOPE, _without_event_group),
    }
)
