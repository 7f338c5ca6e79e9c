"""Calling the handlers that want an event, and making one outcome of all of theirs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NoReturn, TypeAlias

from karla_receiver.errors import DeliveryError, Reason
from karla_receiver.events import Event, UnknownEvent
from karla_receiver.handlers.routing import Matches
from karla_receiver.observing import Observation
from karla_receiver.outcomes import Discard, Handler, Outcome, RetryLater
from karla_receiver.runners import Runner

__all__ = ["AfterEach", "call_handlers", "is_success", "refuse_failure"]

AfterEach: TypeAlias = Callable[[Exception | None], object]


async def call_handlers(
    matches: Matches,
    event: Event,
    runner: Runner,
    view: Handler | None,
    seen: Observation | None,
    after_each: AfterEach | None = None,
) -> None:
    """Call every handler to its end, and then the view if none of them failed.

    seen: told what the handlers took, and what the view answered.
    after_each: called after each handler, with what it raised, or None.
    Raises DeliveryError with undecodable_event before any call if the event does not fit, with
    handler_error if one raised or the view answered with anything but success; else RetryLater
    if one did; else Discard if one did.
    """
    if not matches.fit:
        raise DeliveryError(Reason.UNDECODABLE_EVENT, _misfit(event))
    raised: list[Exception] = []
    answered: object = None
    started = 0.0 if seen is None else time.perf_counter()
    try:
        for handler in matches.handlers:
            _, error = await runner.call(handler, event)
            if error is not None:
                raised.append(error)
            if after_each is not None:
                after_each(error)
        if view is not None and all(isinstance(error, Discard) for error in raised):
            answered, error = await runner.call(view, event)
            if isinstance(error, DeliveryError) and error.answered is not None:
                answered = error.answered  # `refuse_failure` was called within what is around it
            elif error is not None:
                raised.append(error)
    finally:
        if seen is not None:
            seen.handler_seconds = time.perf_counter() - started
    if seen is not None and isinstance(answered, int):
        seen.status = answered
    refuse_failure(answered)
    if raised:
        _raise_worst(raised)


def refuse_failure(answered: object) -> None:
    """Raise DeliveryError with handler_error if a view answered with anything but success.

    answered: what the view returned: the status, if it is a whole number.
    """
    if isinstance(answered, int) and not is_success(answered):
        refusal = DeliveryError(Reason.HANDLER_ERROR, f"the view answered {answered}")
        refusal.answered = answered
        raise refusal


def is_success(status: int) -> bool:
    """Return whether a sender takes an answer of this status for success."""
    return 200 <= status < 300


def _raise_worst(raised: list[Exception]) -> NoReturn:
    errors = [error for error in raised if not isinstance(error, Outcome)]
    if errors:
        kinds = ", ".join(type(error).__name__ for error in errors)
        cause = errors[0] if len(errors) == 1 else ExceptionGroup("handlers raised", errors)
        raise DeliveryError(Reason.HANDLER_ERROR, kinds) from cause
    postponements = [outcome for outcome in raised if isinstance(outcome, RetryLater)]
    if postponements:
        raise max(postponements, key=lambda outcome: outcome.after)
    raise raised[0]


def _misfit(event: Event) -> str:
    return event.problem if isinstance(event, UnknownEvent) else f"a {type(event).__name__}"
