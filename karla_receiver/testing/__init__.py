"""For the tests of your receiver: events, deliveries, a clock, and attacks on your endpoint.

The names here are the promise. Hypothesis strategies are in `karla_receiver.testing.strategies`;
pytest finds the fixtures of `karla_receiver.testing.plugin` by itself. Needs the extra `testing`.
"""

from __future__ import annotations

from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from karla_receiver.testing.answers import Answer, assert_acknowledged, assert_refused
    from karla_receiver.testing.builders import (
        BuiltEvent,
        claim_created,
        claim_updated,
        from_sample,
        shipment_event,
        unknown_event,
    )
    from karla_receiver.testing.clients import Client, NoAnswerError, Target, client_for
    from karla_receiver.testing.clock import SettableClock
    from karla_receiver.testing.deliveries import (
        BadKind,
        Delivery,
        bad_delivery,
        signed_delivery,
    )
    from karla_receiver.testing.fake_karla import (
        Attempt,
        Duplicates,
        FakeKarla,
        RegisteredWebhook,
        Sent,
    )
    from karla_receiver.testing.findings import Finding, SafetyReport
    from karla_receiver.testing.safety import assert_endpoint_is_safe, check_endpoint

__all__ = [
    "Answer",
    "Attempt",
    "BadKind",
    "BuiltEvent",
    "Client",
    "Delivery",
    "Duplicates",
    "FakeKarla",
    "Finding",
    "NoAnswerError",
    "RegisteredWebhook",
    "SafetyReport",
    "Sent",
    "SettableClock",
    "Target",
    "assert_acknowledged",
    "assert_endpoint_is_safe",
    "assert_refused",
    "bad_delivery",
    "check_endpoint",
    "claim_created",
    "claim_updated",
    "client_for",
    "from_sample",
    "shipment_event",
    "signed_delivery",
    "unknown_event",
]

# pytest imports this package for its plugin, at the start of every run in an environment that has
# it: so nothing is loaded before it is used.
_MODULES: Final = MappingProxyType(
    {
        "Answer": "answers",
        "Attempt": "fake_karla",
        "BadKind": "deliveries",
        "BuiltEvent": "builders",
        "Client": "clients",
        "Delivery": "deliveries",
        "Duplicates": "fake_karla",
        "FakeKarla": "fake_karla",
        "Finding": "findings",
        "NoAnswerError": "clients",
        "RegisteredWebhook": "fake_karla",
        "SafetyReport": "findings",
        "Sent": "fake_karla",
        "SettableClock": "clock",
        "Target": "clients",
        "assert_acknowledged": "answers",
        "assert_endpoint_is_safe": "safety",
        "assert_refused": "answers",
        "bad_delivery": "deliveries",
        "check_endpoint": "safety",
        "claim_created": "builders",
        "claim_updated": "builders",
        "client_for": "clients",
        "from_sample": "builders",
        "shipment_event": "builders",
        "signed_delivery": "deliveries",
        "unknown_event": "builders",
    }
)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
