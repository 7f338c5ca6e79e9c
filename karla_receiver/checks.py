"""Checks of options, made once, when an object is made: an object that exists can serve."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import TypeGuard

from karla_receiver.errors import ConfigurationError

__all__ = [
    "checked_bool",
    "checked_clock",
    "checked_count",
    "checked_endpoint",
    "checked_function",
    "checked_seconds",
    "has_methods",
    "is_finite",
    "kind_of",
]

_ENDPOINT = re.compile(r"[A-Za-z0-9._-]{1,64}")


def is_finite(number: object) -> TypeGuard[int | float]:
    """Return whether something is a number, neither NaN nor infinite nor beyond any float."""
    if isinstance(number, bool) or not isinstance(number, int | float):
        return False
    try:
        return math.isfinite(number)
    except OverflowError:  # an integer beyond any float
        return False


def checked_seconds(
    name: str, value: object, *, least: float, most: float = math.inf, limits: str = ""
) -> float:
    """Return value. Raises ConfigurationError unless it is a finite number within the limits.

    limits: what they are, for the message, if their numbers do not say it.
    """
    if not is_finite(value) or not least <= value <= most:
        told = limits or f"{least:g} to {most:g}"
        raise ConfigurationError(f"{name} is a number of seconds, {told}, not {_shown(value)}")
    return value


def checked_count(name: str, value: object, *, least: int, most: float = math.inf) -> int:
    """Return value. Raises ConfigurationError unless it is a whole number within the limits."""
    if type(value) is not int or not least <= value <= most:
        told = f"{least} or more" if most == math.inf else f"{least} to {most}"
        raise ConfigurationError(f"{name} is a whole number, {told}, not {_shown(value)}")
    return value


def checked_bool(name: str, value: object) -> bool:
    """Return value. Raises ConfigurationError unless it is True or False."""
    if type(value) is not bool:
        raise ConfigurationError(f"{name} must be True or False")
    return value


def checked_endpoint(value: object) -> str:
    """Return the name that scopes the keys of one webhook.

    Raises ConfigurationError unless it has 1 to 64 letters, digits, dots, dashes or underscores.
    """
    if not isinstance(value, str) or not _ENDPOINT.fullmatch(value):
        raise ConfigurationError(
            "endpoint is a name of 1 to 64 letters, digits, dots, dashes or underscores, not"
            f" {_shown(value)}"
        )
    return value


def checked_clock(
    clock: Callable[[], float], *, name: str = "clock", returns: str = "unix seconds"
) -> Callable[[], float]:
    """Return clock, which is called once, to see that it returns a number.

    returns: what that is, for the message. Raises ConfigurationError if it does not.
    """
    try:
        is_usable = is_finite(clock())
    except Exception as error:
        raise ConfigurationError(
            f"{name} must be a function that returns {returns}; it raised {type(error).__name__}"
        ) from error
    if not is_usable:
        raise ConfigurationError(
            f"{name} must return {returns} as a number, as time.time does, not a datetime or"
            " anything else"
        )
    return clock


def checked_function(name: str, value: object, does: str) -> None:
    """Raise ConfigurationError unless value is callable.

    does: what it does, for the message.
    """
    if not callable(value):
        raise ConfigurationError(f"{name} is a function that {does}, not {_shown(value)}")


def _shown(value: object) -> str:
    try:
        return f"{value!a:.80}"
    except ValueError:  # an integer of more digits than Python writes
        return f"so long a {type(value).__name__}"


def has_methods(thing: object, *methods: str) -> bool:
    """Return whether thing can be called by these names."""
    # A class has them too, but not bound: whoever forgot its parentheses learns of it here.
    return not isinstance(thing, type) and all(
        callable(getattr(thing, method, None)) for method in methods
    )


def kind_of(thing: object) -> str:
    """Return what thing is, for a message about what it should be."""
    return f"the class {thing.__name__}" if isinstance(thing, type) else type(thing).__name__
