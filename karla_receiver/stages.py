"""The stages of a decoded delivery: claim its key, keep it or call the handlers.

A stage is called with the incoming delivery, and calls the next stage. `chain` makes the stages of
a receiver, when the receiver is made.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias, cast

from karla_receiver.checks import has_methods, kind_of
from karla_receiver.delivery import Delivery
from karla_receiver.errors import ConfigurationError, DeliveryError, Reason
from karla_receiver.events import Event
from karla_receiver.handlers import Handlers
from karla_receiver.idempotency.keys import delivery_key, occurrence_key
from karla_receiver.idempotency.protocol import Claim, ClaimState, IdempotencyStore, Key
from karla_receiver.inbox.protocol import Inbox, Novelty
from karla_receiver.observing import Observation, logs
from karla_receiver.outcomes import CURRENT, Discard, Handler, PlainAttempt
from karla_receiver.runners import Runner

__all__ = ["Incoming", "Keep", "Stage", "chain", "checked_inbox", "checked_store", "leave"]


class Incoming:
    """One request's delivery, as far as it has come.

    view: called after the handlers. seen: the observation for the observer; None without one.
    signature, declared: the lines of the signature header, and the length in bytes that the request
    declares, if it does; empty and None until the request is screened. body: the raw body; a
    bytearray if it came in several chunks; empty until it is verified. event: None until the body
    is decoded. delivery: None until a stage has made it.
    """

    # No repr shows any of these: a report of an error may show every local variable.
    __slots__ = (
        *("_is_near_duplicate", "body", "declared", "delivery"),
        *("event", "seen", "signature", "view"),
    )

    def __init__(self, view: Handler | None, seen: Observation | None) -> None:
        self.view: Handler | None = view
        self.seen: Observation | None = seen
        self.signature: Sequence[str | bytes] = ()
        self.declared: int | None = None
        self.body: bytes = b""
        self.event: Event | None = None
        self.delivery: Delivery | None = None
        self._is_near_duplicate = False

    def made_delivery(
        self, key: Key, clock: Callable[[], float], problem: str | None = None
    ) -> Delivery:
        """Return the delivery to keep, made by the first stage that needs it.

        key: makes its key. clock: tells when it was received. problem: why it is no event.
        """
        if self.delivery is None:
            body, event = bytes(self.body), self.event
            lines = (each if isinstance(each, str) else each.decode() for each in self.signature)
            self.delivery = Delivery(
                key=delivery_key(body, event, key),
                occurrence="" if event is None else delivery_key(b"", event, occurrence_key),
                body=body,
                headers=tuple(("karla-signature", line) for line in lines),
                received_at=clock(),
                ref=None if event is None else event.ref,
                event_group=None if event is None else event.event_group,
                problem=problem,
            )
        return self.delivery

    def tell_near_duplicate(self, delivery: Delivery) -> None:
        """Log and observe that a delivery is nearly one that came before."""
        if not self._is_near_duplicate:  # a store may tell, and an inbox then once more
            self._is_near_duplicate = True
            logs.near_duplicate(delivery)
        if self.seen is not None:
            self.seen.is_near_duplicate = True

    def tell_duplicate(self) -> None:
        """Observe that the delivery came before."""
        if self.seen is not None:
            self.seen.is_duplicate = True


Stage: TypeAlias = Callable[[Incoming, Runner], Awaitable[None]]


def chain(
    handlers: Handlers,
    store: IdempotencyStore | None,
    keep: Keep | None,
    clock: Callable[[], float],
) -> Stage:
    """Return the stages of a receiver: Once if it has a store, then Keep or Handle."""
    last = Handle(handlers) if keep is None else keep
    return last if store is None else Once(store, clock, last)


async def leave(incoming: Incoming, runner: Runner, problem: str) -> None:
    """Do nothing with a genuine body that is not an event: there is no inbox to keep it."""


class Handle:
    """Calls the handlers, and then the view; raises what `Handlers.call` does."""

    def __init__(self, handlers: Handlers) -> None:
        self._handlers = handlers

    def __call__(self, incoming: Incoming, runner: Runner) -> Awaitable[None]:
        event = cast("Event", incoming.event)
        return self._handlers.call(event, runner, incoming.view, incoming.seen)


class Keep:
    """Puts the delivery into an inbox. Raises DeliveryError with unavailable if that fails."""

    def __init__(self, inbox: Inbox, clock: Callable[[], float]) -> None:
        self._inbox = inbox
        self._clock = clock

    async def __call__(self, incoming: Incoming, runner: Runner) -> None:
        delivery = incoming.made_delivery(self._inbox.key, self._clock)
        novelty = await self._put(delivery, runner)
        if novelty == Novelty.DUPLICATE:
            incoming.tell_duplicate()
        elif novelty == Novelty.NEAR_DUPLICATE:
            incoming.tell_near_duplicate(delivery)

    async def apart(self, incoming: Incoming, runner: Runner, problem: str) -> None:
        """Put a genuine body that is not an event into the inbox, with its problem."""
        await self._put(incoming.made_delivery(None, self._clock, problem), runner)

    async def _put(self, delivery: Delivery, runner: Runner) -> Novelty:
        try:
            novelty: Novelty = await runner.use(self._inbox, "put", delivery)
        except Exception as error:
            raise _unavailable("inbox", error) from error
        return novelty


class Once:
    """Runs the next stage once for each key. A store holds the claim.

    If the next stage raises, so does this one, and the key is free again. Raises DeliveryError with
    in_progress while another request has the claim, with unavailable if the store fails.
    """

    def __init__(self, store: IdempotencyStore, clock: Callable[[], float], then: Stage) -> None:
        self._store = store
        self._clock = clock
        self._then = then

    async def __call__(self, incoming: Incoming, runner: Runner) -> None:
        delivery = incoming.made_delivery(self._store.key, self._clock)
        await runner.finish(self._once(incoming, delivery, runner))

    async def _once(self, incoming: Incoming, delivery: Delivery, runner: Runner) -> None:
        claim = await self._claim(delivery, runner)
        if claim.is_near_duplicate:
            incoming.tell_near_duplicate(delivery)
        if claim.state == ClaimState.DONE:
            incoming.tell_duplicate()
            return
        if claim.state == ClaimState.IN_PROGRESS:
            raise DeliveryError(Reason.IN_PROGRESS, f"key {delivery.key[:16]}")
        attempt = CURRENT.set(PlainAttempt(delivery.key))
        try:
            await self._then(incoming, runner)
        except BaseException as raised:
            if runner.ends_work(raised):
                verb = "done" if isinstance(raised, Discard) else "release"
                await self._settle(verb, runner, delivery.key, claim.token)
            raise
        finally:
            CURRENT.reset(attempt)
        await self._settle("done", runner, delivery.key, claim.token)

    async def _claim(self, delivery: Delivery, runner: Runner) -> Claim:
        try:
            claim: Claim = await runner.use(self._store, "claim", delivery.key, delivery.occurrence)
        except Exception as error:
            raise _unavailable("idempotency store", error) from error
        return claim

    async def _settle(self, verb: str, runner: Runner, key: str, token: str) -> None:
        # The handlers have returned, or have failed: the answer says so, whatever becomes of the
        # claim. What could not be marked as done may be handled again when the claim has lapsed.
        try:
            await runner.use(self._store, verb, key, token)
        except Exception:  # noqa: BLE001 - logged, with its traceback
            logs.claim_not_settled(key)


def _unavailable(what: str, error: Exception) -> DeliveryError:
    return DeliveryError(Reason.UNAVAILABLE, f"{what}: {type(error).__name__}")


def checked_store(store: object, tolerance: float) -> IdempotencyStore | None:
    """Return the store, or None. Raises ConfigurationError for anything else.

    tolerance: the receiver's, in seconds: a store must not forget what can still be sent again.
    """
    if store is None:
        return None
    if not has_methods(store, "claim", "done", "release"):
        raise ConfigurationError(
            "idempotency must be a store, as in MemoryStore() or SQLiteStore('karla.db'), not "
            + kind_of(store)
        )
    _check_window("idempotency", store, tolerance)
    return cast("IdempotencyStore", store)


def checked_inbox(inbox: object, tolerance: float) -> Inbox | None:
    """Return the inbox, or None. Raises ConfigurationError as `checked_store` does."""
    if inbox is None:
        return None
    if not has_methods(inbox, "attach", "put", "put_async"):
        raise ConfigurationError(
            f"inbox must be an inbox, as in SQLiteInbox('karla.db'), not {kind_of(inbox)}"
        )
    _check_window("inbox", inbox, tolerance)
    return cast("Inbox", inbox)


def _check_window(name: str, keeper: object, tolerance: float) -> None:
    # A timestamp may lie ahead by the tolerance, and be as late by it. A user's own store or
    # inbox that has no window is taken as it is.
    window: Any = getattr(keeper, "window", None)
    if isinstance(window, int | float) and window < 2 * tolerance:
        raise ConfigurationError(
            f"{name} forgets after {window:g} s what can be sent again for {2 * tolerance:g} s,"
            f" twice the tolerance: give it a window of {2 * tolerance:g} or more"
        )
