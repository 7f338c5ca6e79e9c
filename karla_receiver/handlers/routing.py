"""Which handler wants which event: registration and look-up. Calls nothing."""

from __future__ import annotations

import inspect
from typing import NamedTuple, cast

from karla_receiver.errors import ConfigurationError
from karla_receiver.events import Event
from karla_receiver.handlers.around import Around, Check, Run, refuse_bare_function, surround
from karla_receiver.outcomes import Handler
from karla_receiver.patterns import (
    Address,
    Pattern,
    addresses_of,
    check_group,
    group_pattern,
    parse_pattern,
)
from karla_receiver.runners import run_to_end

__all__ = [
    "Handler",
    "Matches",
    "Routes",
    "check_callable",
    "check_view",
    "refuse_generator",
    "wanted_patterns",
]

_MOST_KINDS = 4096


class Matches(NamedTuple):
    """The handlers that want an event; fit tells whether it has the type they all rely on."""

    handlers: tuple[Handler, ...]
    fit: bool


class _Route(NamedTuple):
    handler: Handler
    patterns: tuple[Pattern, ...]
    group: str | None

    def wanting(self, event: Event, addresses: tuple[Address, ...]) -> list[Pattern]:
        """Return what of this route wants the event."""
        if self.group is not None:
            return [*self.patterns] if event.event_group == self.group else []
        return [pattern for pattern in self.patterns if any(map(pattern.covers, addresses))]


class Routes:
    """The handlers, in the order in which they were registered, and what is around them.

    run: runs what a handler that is not async returns to await, where something is around it.
    """

    def __init__(self, run: Run = run_to_end) -> None:
        self._run = run
        self._around: list[Around] = []
        self._routes: list[_Route] = []
        self._wanted: list[Pattern] = []
        self._found: dict[object, Matches] = {}

    def add(self, handler: Handler, wanted: tuple[Pattern, ...], group: str | None) -> None:
        """Register a handler. Raises ConfigurationError if it does not take the event."""
        check_callable(handler, "a handler", "event")
        refuse_generator(handler, "a handler")
        self._routes.append(_Route(handler, wanted, group))
        self._found = {}
        self.want(wanted)

    def add_around(self, function: Around, *, outermost: bool) -> None:
        """Register what is entered around every handler; see `Receiver.around`."""
        check_callable(function, "what is around a handler", "event")
        refuse_bare_function(function)
        if function not in self._around:
            self._around.insert(0 if outermost else len(self._around), function)
            self._found = {}

    def surround(self, handler: Handler, check: Check | None = None) -> Handler:
        """Return handler within all that is registered around handlers.

        check: raises if what the handler returned is a failure.
        """
        return surround(handler, tuple(self._around), self._run, check)

    def want(self, wanted: tuple[Pattern, ...]) -> None:
        """Add to `enabled_events` what is wanted, by a handler or by something else."""
        self._wanted.extend(wanted)

    def find(self, event: Event) -> Matches:
        """Return every handler that wants event, in order."""
        if not event.ref:
            return self._look_up(event)  # it depends on more than what follows
        # Karla sends some hundred different refs, over and over.
        kind = (type(event), event.source, event.ref, event.event_group)
        cache = self._found
        found = cache.get(kind)
        if found is None:
            found = self._look_up(event)
            if len(addresses_of(event)) == 1 and len(cache) < _MOST_KINDS:
                cache[kind] = found
        return found

    def _look_up(self, event: Event) -> Matches:
        addresses = addresses_of(event)
        wanting = [(route.handler, route.wanting(event, addresses)) for route in self._routes]
        return Matches(
            tuple(self.surround(handler) for handler, patterns in wanting if patterns),
            all(
                any(isinstance(event, pattern.event_type) for pattern in patterns)
                for _, patterns in wanting
                if patterns
            ),
        )

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
    refuse_generator(view, "a view")
    try:
        signature = inspect.signature(cast("Handler", view))
        # Of a method in the body of its class, self comes by itself.
        signature.bind(*[name for name in list(signature.parameters)[:1] if name == "self"])
    except (TypeError, ValueError):
        return
    raise ConfigurationError(
        f"{_name(view)} can be called without an event, and would then act on what was not"
        " verified: give its first parameter no default"
    )


def refuse_generator(function: object, what: str) -> None:
    """Raise ConfigurationError if a call of function would only make a generator."""
    call = getattr(function, "__call__", None)  # noqa: B004 - the method is wanted
    for each in (function, call):
        if inspect.isgeneratorfunction(each) or inspect.isasyncgenfunction(each):
            raise ConfigurationError(
                f"{what} must do its work when it is called: {_name(function)} is a generator"
            )


def _name(function: object) -> str:
    return getattr(function, "__qualname__", type(function).__qualname__)
