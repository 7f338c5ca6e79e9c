"""Receive webhooks from Karla: verify, decode, hand to a function, answer.

Everything that an application needs is here; adapters are in `karla_receiver.adapters`.
"""

from __future__ import annotations

from karla_receiver.decoding import parse_event
from karla_receiver.errors import (
    ConfigurationError,
    KarlaReceiverError,
    PayloadError,
    Reason,
    RequestError,
    SignatureError,
)
from karla_receiver.events import ClaimEvent, Event, ShipmentEvent, UnknownEvent
from karla_receiver.receiver import Receiver
from karla_receiver.request import Request
from karla_receiver.response import Response
from karla_receiver.signature import Verified, Verifier, sign
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
    "ClaimEvent",
    "ClaimReason",
    "ClaimStatus",
    "ConfigurationError",
    "Direction",
    "Event",
    "EventGroup",
    "KarlaReceiverError",
    "PayloadError",
    "Phase",
    "Reason",
    "Receiver",
    "Request",
    "RequestError",
    "ResolutionPreference",
    "Response",
    "ShipmentEvent",
    "SignatureError",
    "Source",
    "UnknownEvent",
    "Verified",
    "Verifier",
    "parse_event",
    "sign",
]
