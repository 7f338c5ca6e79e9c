"""Calling the handlers that want an event, and making one outcome of all of theirs."""

from __future__ import annotations

from karla_receiver.driving import Driver
from karla_receiver.errors import DeliveryError, Reason
from karla_receiver.events import Event, UnknownEvent
from karla_receiver.outcomes import Discard, RetryLater
from karla_receiver.routing import Handler, Match

__all__ = ["call_handlers"]


async def call_handlers(
    matches: list[Match], event: Event, driver: Driver, view: Handler | None
) -> None:
    """Call every handler to its end, and then the view if none of them failed.

    Raises DeliveryError with undecodable_event before any call if the event does not fit, with
    handler_error if one raised or the view answered with anything but success; else RetryLater
    if one did; else Discard if one did.
    """
    if not all(match.fits for match in matches):
        raise DeliveryError(Reason.UNDECODABLE_EVENT, _misfit(event))
    outcomes = _Outcomes()
    for match in matches:
        outcomes.add((await driver.call(match.handler, event)).error)
    if view is not None and not outcomes.has_failed:
        status, error = await driver.call(view, event)
        outcomes.add(error)
        if isinstance(status, int) and not 200 <= status < 300:
            raise DeliveryError(Reason.HANDLER_ERROR, f"the view answered {status}")
    outcomes.raise_worst()


class _Outcomes:
    def __init__(self) -> None:
        self._errors: list[Exception] = []
        self._postponements: list[RetryLater] = []
        self._discards: list[Discard] = []

    def add(self, raised: Exception | None) -> None:
        if isinstance(raised, RetryLater):
            self._postponements.append(raised)
        elif isinstance(raised, Discard):
            self._discards.append(raised)
        elif raised is not None:
            self._errors.append(raised)

    @property
    def has_failed(self) -> bool:
        return bool(self._errors or self._postponements)

    def raise_worst(self) -> None:
        if self._errors:
            kinds = ", ".join(type(error).__name__ for error in self._errors)
            one = len(self._errors) == 1
            cause = self._errors[0] if one else ExceptionGroup("handlers raised", self._errors)
            raise DeliveryError(Reason.HANDLER_ERROR, kinds) from cause
        if self._postponements:
            raise max(self._postponements, key=lambda each: each.after)
        if self._discards:
            raise self._discards[0]


def _misfit(event: Event) -> str:
    return event.problem if isinstance(event, UnknownEvent) else f"a {type(event).__name__}"
