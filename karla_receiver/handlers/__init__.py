"""The user's functions: which of them want an event, and how they are called.

A request's last stage, an inbox's worker and a broker's task call them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from typing import TYPE_CHECKING, Any

from karla_receiver.checks import checked_bool
from karla_receiver.errors import DeliveryError, Reason
from karla_receiver.events import Event
from karla_receiver.handlers.around import Around
from karla_receiver.handlers.calling import AfterEach, call_handlers, refuse_failure
from karla_receiver.handlers.routing import Routes, wanted_patterns
from karla_receiver.handlers.unwanted import Unwanted
from karla_receiver.observing import Observation
from karla_receiver.outcomes import Discard, Handler, RetryLater
from karla_receiver.patterns import Pattern
from karla_receiver.runners import Runner, SyncRunner, run_sync, run_to_end

if TYPE_CHECKING:
    from karla_receiver.threads.loop import AppLoop

__all__ = ["Handlers"]


class Handlers:
    """The handlers of one receiver, what is around them, and the loop that async ones run on.

    runner: calls them at once, in the caller's thread.
    """

    def __init__(self) -> None:
        self._app_loop: AppLoop | None = None
        self._routes = Routes(self._run)
        self._unwanted = Unwanted()
        self.runner: Runner = SyncRunner(self._run)

    def add(self, handler: Handler, wanted: tuple[Pattern, ...], group: str | None) -> None:
        """Register a handler; see `Receiver.on`."""
        self._routes.add(handler, wanted, group)

    def add_around(self, function: Around, *, outermost: bool) -> None:
        """Register what is entered around every handler; see `Receiver.around`."""
        self._routes.add_around(function, outermost=checked_bool("outermost", outermost))

    def want(self, *patterns: str) -> None:
        """Add patterns to `enabled_events` for something that acts on events and is no handler."""
        self._routes.want(wanted_patterns(patterns, None))

    @property
    def enabled_events(self) -> list[str]:
        """The patterns to register with Karla; see `Receiver.enabled_events`."""
        return self._routes.enabled_events()

    def surround(self, view: Handler) -> Handler:
        """Return a view within all that is around handlers, in which a failing answer is raised."""
        return self._routes.surround(view, refuse_failure)

    def call(
        self,
        event: Event,
        runner: Runner,
        view: Handler | None = None,
        seen: Observation | None = None,
        after_each: AfterEach | None = None,
    ) -> Coroutine[Any, Any, None]:
        """Call every handler that wants event, and then the view; see `call_handlers`.

        An event that no handler wants is logged, once for each ref, and observed.
        """
        matches = self._routes.find(event)
        if view is None and not matches.handlers:
            return self._unwanted.report(event, seen)
        return call_handlers(matches, event, runner, view, seen, after_each)

    def handle(
        self, event: Event, seen: Observation | None = None, after_each: AfterEach | None = None
    ) -> None:
        """Call every handler that wants event, as a worker does for a kept delivery.

        seen: filled with the outcome. after_each: called after each handler, with its error or
        None.
        Raises DeliveryError with handler_error if one raised, with undecodable_event if one
        relies on another type; RetryLater or Discard if one did. Async handlers are run to their
        end.
        """
        seen = seen or Observation()
        seen.event = event
        try:
            run_sync(self.call(event, self.runner, None, seen, after_each))
        except DeliveryError as refusal:
            seen.reason = refusal.reason
            raise
        except RetryLater:
            seen.reason = Reason.RETRY_LATER
            raise
        except Discard:
            seen.is_discarded = True
            raise

    def note_loop(self) -> bool:
        """Take the asyncio event loop that runs in this thread, if any, for the app's.

        Returns whether there is one. See `Receiver.note_loop`.
        """
        import asyncio  # takes longer to import than all the rest, and many users never need it

        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return False
        if self._app_loop is None:
            from karla_receiver.threads.loop import AppLoop

            self._app_loop = AppLoop()
        self._app_loop.note(loop)
        return True

    def _run(self, awaitable: Awaitable[Any]) -> Any:
        return run_to_end(awaitable, self._app_loop)
