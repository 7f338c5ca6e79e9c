"""What all stores check of their options, so that a store that exists can work."""

from __future__ import annotations

import math
import re

from karla_receiver.errors import ConfigurationError
from karla_receiver.idempotency.protocol import Key

__all__ = [
    "DEFAULT_LEASE",
    "DEFAULT_WINDOW",
    "checked_endpoint",
    "checked_key",
    "checked_lease",
    "checked_window",
]

DEFAULT_WINDOW = 7 * 86_400
DEFAULT_LEASE = 60

# A captured delivery verifies for twice the tolerance of 300 s, for its timestamp may lie ahead.
_SHORTEST_WINDOW = 600
_ENDPOINT = re.compile(r"[A-Za-z0-9._-]{1,64}")


def checked_window(window: float) -> float:
    """Return how many seconds a handled delivery is remembered: 600 or more, finite.

    Raises ConfigurationError for anything else.
    """
    if not _is_number(window) or not _SHORTEST_WINDOW <= window < math.inf:
        raise ConfigurationError(
            f"window is a number of seconds, {_SHORTEST_WINDOW} or more, not {window!a}: a captured"
            " delivery can be sent again for so long"
        )
    return window


def checked_lease(lease: float, window: float) -> float:
    """Return after how many seconds an unfinished claim expires: 1 or more, at most the window.

    Raises ConfigurationError for anything else.
    """
    if not _is_number(lease) or not 1 <= lease <= window:
        raise ConfigurationError(
            f"lease is a number of seconds, 1 to the window of {window:g}, not {lease!a}: more than"
            " the slowest handler takes"
        )
    return lease


def checked_endpoint(endpoint: str) -> str:
    """Return the name that scopes the keys of one webhook.

    Raises ConfigurationError unless it has 1 to 64 letters, digits, dots, dashes or underscores.
    """
    if not isinstance(endpoint, str) or not _ENDPOINT.fullmatch(endpoint):
        raise ConfigurationError(
            "endpoint is a name of 1 to 64 letters, digits, dots, dashes or underscores, not"
            f" {endpoint!a}"
        )
    return endpoint


def checked_key(key: Key) -> Key:
    """Return the function that makes an event's key. Raises ConfigurationError if it is none."""
    if key is not None and not callable(key):
        raise ConfigurationError(
            f"key is a function that takes an event and returns text, or None, not {key!a}"
        )
    return key


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
