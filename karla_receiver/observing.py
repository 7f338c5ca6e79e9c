"""What can be seen of each request from outside: for metrics, traces and alerts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

import msgspec

from karla_receiver import logs
from karla_receiver.errors import ConfigurationError, Reason
from karla_receiver.events import Event
from karla_receiver.vocabulary import EventGroup

__all__ = ["Observation", "Observer", "begin", "checked_observer", "finish"]


_GROUPS: Final = frozenset(map(str, EventGroup))


class Observation(msgspec.Struct, kw_only=True):
    """What became of one request.

    status: what was answered; None if nobody was left to answer, or a handler was broken off.
    reason: why it was refused, if it was.
    event: if the delivery was genuine and fresh, and an event.
    body_bytes: as many as were read.
    clock_skew: seconds from the signed timestamp to our clock, of a genuine delivery; positive:
    late.
    secret_index: which of the configured secrets matched, from 0: an old one that is still seen
    must stay.
    is_duplicate: it was handled or kept before, and so not now.
    is_near_duplicate: the same occurrence came before in other bytes.
    handler_seconds: what the handlers took, all together; None if none was called.
    seconds: what everything took, reading the body included.
    """

    status: int | None = None
    reason: Reason | None = None
    event: Event | None = None
    body_bytes: int = 0
    clock_skew: float | None = None
    secret_index: int | None = None
    is_duplicate: bool = False
    is_near_duplicate: bool = False
    handler_seconds: float | None = None
    seconds: float = 0.0

    @property
    def known_group(self) -> str:
        """The event group as a metric's label, which takes few values whatever Karla sends.

        "none" unless the delivery is verified and an event; "other" for an unknown one.
        """
        if self.event is None:
            return "none"
        group = self.event.event_group
        return group if group in _GROUPS else "other"


_Finish: TypeAlias = Callable[[Observation], object]


class Observer(Protocol):
    """Is told of every request. What it raises is logged, and changes no answer."""

    def begin(self) -> Callable[[Observation], object]:
        """Called when a request comes; what it returns is called when that has its answer."""
        ...


def checked_observer(observer: object) -> None:
    """Raise ConfigurationError if observer is none."""
    if isinstance(observer, type) or not callable(getattr(observer, "begin", None)):
        kind = (
            f"the class {observer.__name__}"
            if isinstance(observer, type)
            else type(observer).__name__
        )
        raise ConfigurationError(
            f"observer must have a method begin, as PrometheusObserver() has, not {kind}"
        )


def begin(observer: Observer) -> _Finish:
    """Tell the observer that a request came."""
    try:
        return observer.begin()
    except Exception:  # noqa: BLE001 - logged
        logs.observer_failed()
        return _ignore


def finish(tell: _Finish, observation: Observation) -> None:
    """Tell what became of it."""
    try:
        tell(observation)
    except Exception:  # noqa: BLE001 - logged
        logs.observer_failed()


def _ignore(observation: Observation) -> None:
    """Take it, since the observer failed at the beginning."""
