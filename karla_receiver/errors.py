"""Why a delivery can be refused, the status each reason is answered with, and the error tree."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum, unique
from types import MappingProxyType
from typing import Final, NamedTuple

__all__ = [
    "STATUS",
    "ConfigurationError",
    "DeliveryError",
    "KarlaReceiverError",
    "PayloadError",
    "Reason",
    "RequestError",
    "SignatureError",
    "StorageError",
    "Verified",
]


@unique
class Reason(StrEnum):
    """Why a delivery was refused: a closed list, safe to use as a metric's label."""

    INVALID_JSON = "invalid_json"
    INVALID_ENVELOPE = "invalid_envelope"
    BAD_CONTENT_LENGTH = "bad_content_length"
    BODY_INCOMPLETE = "body_incomplete"
    MISSING_SIGNATURE = "missing_signature"
    MALFORMED_HEADER = "malformed_header"
    NO_V1 = "no_v1"
    SIGNATURE_MISMATCH = "signature_mismatch"
    TIMESTAMP_TOO_OLD = "timestamp_too_old"
    TIMESTAMP_IN_FUTURE = "timestamp_in_future"
    HTTPS_REQUIRED = "https_required"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    IN_PROGRESS = "in_progress"
    LENGTH_REQUIRED = "length_required"
    BODY_TOO_LARGE = "body_too_large"
    HANDLER_ERROR = "handler_error"
    UNDECODABLE_EVENT = "undecodable_event"
    RETRY_LATER = "retry_later"
    UNAVAILABLE = "unavailable"
    CLIENT_DISCONNECTED = "client_disconnected"


# The one table of answers; nothing else chooses a status. None: nobody is left to answer.
STATUS: Final[Mapping[Reason, int | None]] = MappingProxyType(
    {
        Reason.INVALID_JSON: 400,
        Reason.INVALID_ENVELOPE: 400,
        Reason.BAD_CONTENT_LENGTH: 400,
        Reason.BODY_INCOMPLETE: 400,
        Reason.MISSING_SIGNATURE: 401,
        Reason.MALFORMED_HEADER: 401,
        Reason.NO_V1: 401,
        Reason.SIGNATURE_MISMATCH: 401,
        Reason.TIMESTAMP_TOO_OLD: 401,
        Reason.TIMESTAMP_IN_FUTURE: 401,
        Reason.HTTPS_REQUIRED: 403,
        Reason.METHOD_NOT_ALLOWED: 405,
        Reason.IN_PROGRESS: 409,
        Reason.LENGTH_REQUIRED: 411,
        Reason.BODY_TOO_LARGE: 413,
        Reason.HANDLER_ERROR: 500,
        Reason.UNDECODABLE_EVENT: 500,
        Reason.RETRY_LATER: 503,
        Reason.UNAVAILABLE: 503,
        Reason.CLIENT_DISCONNECTED: None,
    }
)


class Verified(NamedTuple):
    """What a verification proved.

    timestamp: when the delivery was signed, in unix seconds.
    secret_index: which of the configured secrets matched, from 0. As long as the index of an
    old secret is seen, that secret is in use and must stay.
    """

    timestamp: int
    secret_index: int


class KarlaReceiverError(Exception):
    """The root of everything that this package raises on purpose."""


class ConfigurationError(KarlaReceiverError):
    """The set-up is wrong: raised when an object is made or wired, never for a request."""


class StorageError(KarlaReceiverError):
    """An idempotency store or an inbox could not do its work: answered 503, never 200."""


class DeliveryError(KarlaReceiverError):
    """A delivery was refused. The parent of the three kinds below."""

    reason: Reason
    detail: str
    # What a view, or an app behind, answered by itself: the sender gets that.
    answered: int | None = None

    def __init__(self, reason: Reason, detail: str = "") -> None:
        # Without super(): the arguments are kept by then, and a forgery should cost its hash.
        self.reason = reason
        self.detail = detail

    @property
    def status(self) -> int | None:
        """The HTTP status that the sender gets; None if the sender is gone."""
        return STATUS[self.reason] if self.answered is None else self.answered

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else str(self.reason)


class RequestError(DeliveryError):
    """The HTTP request itself cannot be served: method, scheme, size, or a broken body."""


class SignatureError(DeliveryError):
    """The delivery is not proven genuine and fresh."""

    clock_skew: float | None
    # What was proven all the same: of a delivery that is genuine, but not fresh.
    verified: Verified | None = None

    def __init__(self, reason: Reason, detail: str = "", clock_skew: float | None = None) -> None:
        self.reason = reason
        self.detail = detail
        # Seconds from the signed timestamp to our clock, where it was compared; positive: late.
        self.clock_skew = clock_skew


class PayloadError(DeliveryError):
    """The body is genuine, but not an event: not JSON, or not an envelope."""
