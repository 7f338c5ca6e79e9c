"""Which handler wants which event: registration and look-up. Calls nothing."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, cast

from karla_receiver.errors import ConfigurationError
from karla_receiver.events import Event
from karla_receiver.patterns import (
    Address,
    Pattern,
    addresses_of,
    check_group,
    group_pattern,
    parse_pattern,
)

__all__ = ["Handler", "Match", "Routes", "check_callable", "check_view", "wanted_patterns"]

# Any, because a handler names the type of event that its pattern promises.
Handler: TypeAlias = Callable[[Any], object]


class Match(NamedTuple):
    """A handler that wants an event; fits tells whether the event has the type it relies on."""

    handler: Handler
    fits: bool


class _Route(NamedTuple):
    handler: Handler
    patterns: tuple[Pattern, ...]
    group: str | None

    def match(self, event: Event, addresses: tuple[Address, ...]) -> Match | None:
        if self.group is not None:
            wanting = self.patterns if event.event_group == self.group else ()
        else:
            wanting = tuple(
                pattern for pattern in self.patterns if any(map(pattern.covers, addresses))
            )
        if not wanting:
            return None
        return Match(self.handler, any(isinstance(event, each.event_type) for each in wanting))


class Routes:
    """The handlers, in the order in which they were registered."""

    def __init__(self) -> None:
        self._routes: list[_Route] = []
        self._wanted: list[Pattern] = []

    def add(self, handler: Handler, wanted: tuple[Pattern, ...], group: str | None) -> None:
        """Register a handler. Raises ConfigurationError if it does not take the event."""
        check_callable(handler, "a handler", "event")
        _refuse_generator(handler, "a handler")
        self._routes.append(_Route(handler, wanted, group))
        self.want(wanted)

    def want(self, wanted: tuple[Pattern, ...]) -> None:
        """Add to `enabled_events` what is wanted, by a handler or by something else."""
        self._wanted.extend(wanted)

    def find(self, event: Event) -> list[Match]:
        """Return every handler that wants event, in order."""
        addresses = addresses_of(event)
        matches = (route.match(event, addresses) for route in self._routes)
        return [match for match in matches if match is not None]

    def enabled_events(self) -> list[str]:
        """Return the fewest patterns that cover all that is wanted, in order."""
        unique = list({pattern.address: pattern for pattern in self._wanted}.values())
        return [
            pattern.text
            for pattern in unique
            if not any(other is not pattern and other.covers(pattern.address) for other in unique)
        ]


def wanted_patterns(patterns: tuple[str, ...], group: str | None) -> tuple[Pattern, ...]:
    """Read what `Receiver.on` was given: patterns, or a group.

    Raises ConfigurationError unless it is one of the two and can match.
    """
    if group is None:
        if not patterns:
            raise ConfigurationError("name a pattern, as in on('*'), or a group")
        return tuple(map(parse_pattern, patterns))
    if patterns:
        raise ConfigurationError("name patterns or a group, not both: stack two decorators")
    return (group_pattern(check_group(group)),)


def check_callable(
    function: object, what: str, *arguments: str, others_allowed: bool = False
) -> None:
    """Raise ConfigurationError unless function can be called with that many arguments.

    others_allowed: it may need further ones, which come from elsewhere.
    """
    if not callable(function):
        raise ConfigurationError(f"{what} must be callable, not {type(function).__name__}")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # some built-in functions do not tell
    bind = signature.bind_partial if others_allowed else signature.bind
    try:
        bind(*arguments)
    except TypeError:
        raise ConfigurationError(
            f"{what} is called with {', '.join(arguments)}; {_name(function)}{signature} does not"
            " take that"
        ) from None


def check_view(view: object) -> None:
    """Raise ConfigurationError unless view takes the event first, and cannot do without it.

    It may need further arguments, which the framework brings. One that can do without would
    serve unverified requests if it were registered without its decorator, as happens when two
    decorators stand in the wrong order.
    """
    check_callable(view, "a view", "event", others_allowed=True)
    _refuse_generator(view, "a view")
    try:
        inspect.signature(cast("Handler", view)).bind()
    except (TypeError, ValueError):
        return
    raise ConfigurationError(
        f"{_name(view)} can be called without an event, and would then act on what was not"
        " verified: give its first parameter no default"
    )


def _refuse_generator(function: object, what: str) -> None:
    call = getattr(function, "__call__", None)  # noqa: B004 - the method is wanted
    for each in (function, call):
        if inspect.isgeneratorfunction(each) or inspect.isasyncgenfunction(each):
            raise ConfigurationError(
                f"{what} must do its work when it is called: {_name(function)} is a generator"
            )


def _name(function: object) -> str:
    return getattr(function, "__qualname__", type(function).__qualname__)
