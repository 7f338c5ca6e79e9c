"""Receive webhooks from Karla: verify, decode, hand to a function, answer.

Everything that an application needs is here; adapters are in `karla_receiver.adapters`.
"""

from __future__ import annotations

from karla_receiver.decoding import parse_event
from karla_receiver.errors import (
    ConfigurationError,
    DeliveryError,
    KarlaReceiverError,
    PayloadError,
    Reason,
    RequestError,
    SignatureError,
    StorageError,
    Verified,
)
from karla_receiver.events import ClaimEvent, Event, ShipmentEvent, UnknownEvent
from karla_receiver.observing import Observation, Observer
from karla_receiver.outcomes import Attempt, Discard, RetryLater, current_attempt
from karla_receiver.receiver import Receiver
from karla_receiver.request import Request, Response
from karla_receiver.signature import Verifier, sign
from karla_receiver.vocabulary import (
    ClaimReason,
    ClaimStatus,
    Direction,
    EventGroup,
    Phase,
    ResolutionPreference,
    Source,
)

__all__ = [
    "Attempt",
    "ClaimEvent",
    "ClaimReason",
    "ClaimStatus",
    "ConfigurationError",
    "DeliveryError",
    "Direction",
    "Discard",
    "Event",
    "EventGroup",
    "KarlaReceiverError",
    "Observation",
    "Observer",
    "PayloadError",
    "Phase",
    "Reason",
    "Receiver",
    "Request",
    "RequestError",
    "ResolutionPreference",
    "Response",
    "RetryLater",
    "ShipmentEvent",
    "SignatureError",
    "Source",
    "StorageError",
    "UnknownEvent",
    "Verified",
    "Verifier",
    "current_attempt",
    "parse_event",
    "sign",
]
