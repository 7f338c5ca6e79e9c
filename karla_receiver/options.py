"""Checks of options, made once, when an object is made: an object that exists can serve."""

from __future__ import annotations

import math
import re

from karla_receiver.errors import ConfigurationError

__all__ = [
    "checked_count",
    "checked_endpoint",
    "checked_function",
    "checked_seconds",
    "has_methods",
    "kind_of",
]

_ENDPOINT = re.compile(r"[A-Za-z0-9._-]{1,64}")


def checked_seconds(
    name: str, value: object, *, least: float, most: float = math.inf, limits: str = ""
) -> float:
    """Return value. Raises ConfigurationError unless it is a finite number within the limits.

    limits: what they are, for the message, if their numbers do not say it.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
        or not least <= value <= most
    ):
        told = limits or f"{least:g} to {most:g}"
        raise ConfigurationError(f"{name} is a number of seconds, {told}, not {value!a:.80}")
    return value


def checked_count(name: str, value: object, *, least: int, most: int) -> int:
    """Return value. Raises ConfigurationError unless it is a whole number within the limits."""
    if type(value) is not int or not least <= value <= most:
        raise ConfigurationError(f"{name} is a whole number, {least} to {most}, not {value!a:.80}")
    return value


def checked_endpoint(value: object) -> str:
    """Return the name that scopes the keys of one webhook.

    Raises ConfigurationError unless it has 1 to 64 letters, digits, dots, dashes or underscores.
    """
    if not isinstance(value, str) or not _ENDPOINT.fullmatch(value):
        raise ConfigurationError(
            "endpoint is a name of 1 to 64 letters, digits, dots, dashes or underscores, not"
            f" {value!a:.80}"
        )
    return value


def checked_function(name: str, value: object, does: str) -> None:
    """Raise ConfigurationError unless value is callable.

    does: what it does, for the message.
    """
    if not callable(value):
        raise ConfigurationError(f"{name} is a function that {does}, not {value!a:.80}")


def has_methods(thing: object, *methods: str) -> bool:
    """Return whether thing can be called by these names."""
    # A class has them too, but not bound: whoever forgot its parentheses learns of it here.
    return not isinstance(thing, type) and all(
        callable(getattr(thing, method, None)) for method in methods
    )


def kind_of(thing: object) -> str:
    """Return what thing is, for a message about what it should be."""
    return f"the class {thing.__name__}" if isinstance(thing, type) else type(thing).__name__
