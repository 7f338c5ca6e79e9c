"""What can be seen of each request from outside: for metrics, traces and alerts."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final, Protocol, TypeAlias

import msgspec

from karla_receiver.checks import has_methods, kind_of
from karla_receiver.errors import ConfigurationError, Reason, Verified
from karla_receiver.events import Event
from karla_receiver.observing import logs
from karla_receiver.vocabulary import GROUPS

__all__ = [
    "BODY_BOUNDS",
    "DURATION_BOUNDS",
    "SKEW_BOUNDS",
    "Observation",
    "Observer",
    "attempt",
    "begin",
    "checked_observer",
    "finish",
    "parked",
]


# Where histograms divide, in seconds and bytes, whatever counts them. A skew goes either way.
DURATION_BOUNDS: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1, 2.5, 5, 10, 30),
)
BODY_BOUNDS: Final = (1_024, 2_048, 4_096, 16_384, 65_536, 262_144, 1_048_576)
SKEW_BOUNDS: Final = (2, 10, 60, 300)


class Observation(msgspec.Struct, kw_only=True):
    """What became of one request; or, with an inbox, of one attempt that its worker made.

    is_attempt: True for a worker's attempt, of which is told: reason, event, is_discarded,
    is_unwanted, is_parked, handler_seconds, seconds. The rest was told of the request that brought
    it.
    status: what was answered, by a view too; None if nobody was left to answer, or a handler was
    broken off.
    reason: why it was refused, or not handled.
    event: if the delivery was genuine and fresh, and an event.
    body_bytes: as many as were read.
    clock_skew: seconds from the signed timestamp to our clock, of a genuine delivery; positive:
    late.
    secret_index: which of the configured secrets matched, from 0: an old one that is still seen
    must stay.
    is_duplicate: it was handled or kept before, and so not now.
    is_near_duplicate: the same occurrence came before in other bytes.
    is_discarded: a handler raised Discard.
    is_unwanted: no handler wants the event, and there is no view: nothing was called.
    is_parked: it is kept as failed, for an operator: no attempt follows.
    handler_seconds: what the handlers took, all together; None if none was called.
    seconds: what everything took, reading the body included.
    """

    is_attempt: bool = False
    status: int | None = None
    reason: Reason | None = None
    event: Event | None = None
    body_bytes: int = 0
    clock_skew: float | None = None
    secret_index: int | None = None
    is_duplicate: bool = False
    is_near_duplicate: bool = False
    is_discarded: bool = False
    is_unwanted: bool = False
    is_parked: bool = False
    handler_seconds: float | None = None
    seconds: float = 0.0

    def proven(self, verified: Verified | None, now: float) -> None:
        """Take what is proven of the delivery; None: nothing, as of a forgery."""
        if verified is not None:
            self.secret_index = verified.secret_index
            self.clock_skew = now - verified.timestamp

    @property
    def known_group(self) -> str:
        """The event group as a metric's label, which takes few values whatever Karla sends.

        "none" unless the delivery is verified and an event; "other" for an unknown one.
        """
        if self.event is None:
            return "none"
        group = self.event.event_group
        return group if group in GROUPS else "other"

    @property
    def outcome(self) -> str:
        """What came of an attempt, as a label: a reason, "unwanted", "discarded" or "handled"."""
        if self.reason is not None:
            return str(self.reason)
        if self.is_unwanted:
            return "unwanted"
        return "discarded" if self.is_discarded else "handled"


_Finish: TypeAlias = Callable[[Observation], object]


class Observer(Protocol):
    """Is told of every request and attempt. What it raises is logged, and changes no answer."""

    def begin(self) -> Callable[[Observation], object]:
        """Called when a request comes, or an attempt begins; what it returns, at the end of it."""
        ...


def checked_observer(observer: object) -> None:
    """Raise ConfigurationError if observer is none."""
    if not has_methods(observer, "begin"):
        raise ConfigurationError(
            "observer must have a method begin, as PrometheusObserver() has, not "
            + kind_of(observer)
        )


@contextmanager
def attempt(
    observer: Observer | None, caught: type[BaseException] = Exception
) -> Generator[Observation]:
    """Observe what a worker does in this context; tell the observer at its end, if there is one.

    caught: what the observer may raise without any effect.
    """
    seen = Observation(is_attempt=True)
    if observer is None:
        yield seen
        return
    tell = begin(observer, caught)
    started = time.perf_counter()
    try:
        yield seen
    finally:
        seen.seconds = time.perf_counter() - started
        finish(tell, seen, caught)


def parked(
    observer: Observer | None, reason: Reason, caught: type[BaseException] = Exception
) -> None:
    """Tell that a delivery is kept as failed without an attempt: it may be what kills workers."""
    with attempt(observer, caught) as seen:
        seen.reason, seen.is_parked = reason, True


def begin(observer: Observer, caught: type[BaseException] = Exception) -> _Finish:
    """Tell the observer that a request came, or an attempt begins."""
    try:
        return observer.begin()
    except caught:
        logs.observer_failed()
        return _ignore


def finish(
    tell: _Finish, observation: Observation, caught: type[BaseException] = Exception
) -> None:
    """Tell what became of it."""
    try:
        tell(observation)
    except caught:
        logs.observer_failed()


def _ignore(observation: Observation) -> None:
    """Take it, since the observer failed at the beginning."""
