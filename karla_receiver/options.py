"""Checks of options, made once, when an object is made: an object that exists can serve."""

from __future__ import annotations

import math

from karla_receiver.errors import ConfigurationError

__all__ = ["checked_count", "checked_function", "checked_name", "checked_seconds"]


def checked_seconds(
    name: str, value: object, *, least: float, most: float = math.inf, why: str = ""
) -> float:
    """Return value. Raises ConfigurationError unless it is a finite number within the limits."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
        or not least <= value <= most
    ):
        limits = f"{least:g} or more" if most == math.inf else f"{least:g} to {most:g}"
        raise ConfigurationError(f"{name} must be seconds, {limits}{why}; not {value!a}")
    return value


def checked_count(name: str, value: object, *, least: int, most: int) -> int:
    """Return value. Raises ConfigurationError unless it is a whole number within the limits."""
    if type(value) is not int or not least <= value <= most:
        raise ConfigurationError(f"{name} must be a whole number, {least} to {most}; not {value!a}")
    return value


def checked_name(name: str, value: object) -> str:
    """Return value. Raises ConfigurationError unless it is a text of 1 to 100 visible ASCII."""
    if not isinstance(value, str) or not 0 < len(value) <= 100 or not value.isascii():
        raise ConfigurationError(f"{name} must be 1 to 100 ASCII characters; not {value!a}")
    return value


def checked_function(name: str, value: object, what: str) -> None:
    """Raise ConfigurationError unless value is callable.

    what: it does, for the message.
    """
    if not callable(value):
        raise ConfigurationError(f"{name} must be a function that {what}; not {value!a:.80}")
