"""What is checked once: options, when a thing is made, and foreign text before it is shown.

An object that exists can serve. The usual clocks are here too.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from typing import TypeGuard, cast

from karla_receiver.errors import ConfigurationError

__all__ = [
    "checked_body",
    "checked_bool",
    "checked_clock",
    "checked_count",
    "checked_endpoint",
    "checked_function",
    "checked_seconds",
    "has_methods",
    "is_finite",
    "is_host",
    "is_loopback",
    "kind_of",
    "monotonic_clock",
    "printable",
    "wall_clock",
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


def checked_body(body: object) -> bytes:
    """Return the body if it is bytes-like; raise TypeError, with the remedy, if it is not."""
    if isinstance(body, bytes | bytearray):
        return cast("bytes", body)
    if isinstance(body, memoryview):
        return body.tobytes()
    raise TypeError(
        f"the body must be bytes, not {type(body).__name__}. The signature covers the bytes as"
        " they came, so a body that was parsed or decoded cannot be verified. Take the raw bytes:"
        " request.get_data() in Flask, await request.body() in Starlette and FastAPI,"
        " request.body in Django, await request.read() in aiohttp."
    )


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


def wall_clock() -> float:
    """Return unix seconds."""
    return time.time()


def monotonic_clock() -> float:
    """Return seconds that nobody can set."""
    return time.monotonic()


def is_host(host: str | None) -> bool:
    """Return whether a name or address could be looked up: its labels have 1 to 63 characters."""
    try:
        return bool(host and host.encode("idna"))
    except UnicodeError:
        return False


def is_loopback(host: str | None) -> bool:
    """Return whether a host is certainly this machine.

    A name under .localhost is not: unlike RFC 6761 asks, many resolvers ask the network for it.
    """
    from ipaddress import ip_address  # which a receiver never needs, and takes long to import

    try:
        return ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost"


def printable(text: str, *, keeps_lines: bool = False) -> str:
    """Return foreign text fit for a terminal or a log: what does not print is escaped.

    keeps_lines: leave newlines as they are. Else nothing in it can begin a line or move a cursor.
    """
    return "".join(
        each if each.isprintable() or (keeps_lines and each == "\n") else ascii(each)[1:-1]
        for each in text
    )
