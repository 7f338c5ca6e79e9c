"""Karla's webhook API: register an endpoint, and keep it equal to a receiver's handlers.

Needs the extra `api`.
"""

from __future__ import annotations

from karla_receiver.registration.client import APIOptions, KarlaAPI
from karla_receiver.registration.errors import (
    AmbiguousURLError,
    CredentialsError,
    ErrorBody,
    NotRegisteredError,
    Problem,
    RefusedError,
    RegistrationError,
    UnavailableError,
    UnexpectedAnswerError,
)
from karla_receiver.registration.planning import Change, SyncPlan, make_plan
from karla_receiver.registration.retrying import Retries
from karla_receiver.registration.rotation import Rotation, Step, next_step
from karla_receiver.registration.secret import Secret
from karla_receiver.registration.webhook import Status, Webhook

__all__ = [
    "APIOptions",
    "AmbiguousURLError",
    "Change",
    "CredentialsError",
    "ErrorBody",
    "KarlaAPI",
    "NotRegisteredError",
    "Problem",
    "RefusedError",
    "RegistrationError",
    "Retries",
    "Rotation",
    "Secret",
    "Status",
    "Step",
    "SyncPlan",
    "UnavailableError",
    "UnexpectedAnswerError",
    "Webhook",
    "make_plan",
    "next_step",
]
