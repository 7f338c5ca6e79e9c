"""What all stores check of their options, so that a store that exists can work."""

from __future__ import annotations

from karla_receiver.checks import checked_seconds
from karla_receiver.errors import ConfigurationError
from karla_receiver.idempotency.protocol import Key

__all__ = [
    "DEFAULT_LEASE",
    "DEFAULT_WINDOW",
    "checked_key",
    "checked_lease",
    "checked_window",
]

DEFAULT_WINDOW = 7 * 86_400
DEFAULT_LEASE = 60

# A captured delivery verifies for twice the tolerance of 300 s, for its timestamp may lie ahead.
_SHORTEST_WINDOW = 600


def checked_window(window: float) -> float:
    """Return how many seconds a handled delivery is remembered: 600 or more, finite.

    Raises ConfigurationError for anything else.
    """
    return checked_seconds(
        "window",
        window,
        least=_SHORTEST_WINDOW,
        limits=f"{_SHORTEST_WINDOW} or more, for so long a captured delivery can be sent again",
    )


def checked_lease(lease: float, window: float) -> float:
    """Return after how many seconds an unfinished claim expires: 1 or more, at most the window.

    Raises ConfigurationError for anything else.
    """
    return checked_seconds(
        "lease",
        lease,
        least=1,
        most=window,
        limits=f"1 to the window of {window:g}, and more than the slowest handler takes",
    )


def checked_key(key: Key) -> Key:
    """Return the function that makes an event's key. Raises ConfigurationError if it is none."""
    if key is not None and not callable(key):
        raise ConfigurationError(
            f"key is a function that takes an event and returns text, or None, not {key!a}"
        )
    return key
