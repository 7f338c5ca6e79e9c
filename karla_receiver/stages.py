"""Around the handlers: a claim on the delivery's key, an inbox that keeps it, or both.

Imported only by a receiver that has a store or an inbox, since those take their modules along.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeAlias, cast

from karla_receiver.attempt import CURRENT, PlainAttempt
from karla_receiver.checks import has_methods, kind_of
from karla_receiver.decoding import parse_event
from karla_receiver.delivery import Delivery, Received
from karla_receiver.errors import ConfigurationError, DeliveryError, PayloadError, Reason
from karla_receiver.events import Event
from karla_receiver.idempotency.keys import delivery_key, occurrence_key
from karla_receiver.idempotency.protocol import Claim, ClaimState, IdempotencyStore, Key
from karla_receiver.inbox.protocol import EventHandler, Inbox, Novelty
from karla_receiver.observing import Observation, logs
from karla_receiver.outcomes import Discard
from karla_receiver.runners import Driver

__all__ = ["Keeping"]

_Work: TypeAlias = Callable[[], Awaitable[None]]


class Keeping:
    """What a receiver does around its handlers, with a store, an inbox, or both.

    receiver: whose handlers the inbox's worker calls.
    tolerance: the receiver's, in seconds.
    Raises ConfigurationError for a store that is none, an inbox that is none, and a window in
    which a captured delivery outlives what is remembered of it.
    """

    def __init__(
        self, store: object, inbox: object, receiver: EventHandler, *, tolerance: float
    ) -> None:
        self._store = _checked_store(store) if store is not None else None
        self._inbox = _checked_inbox(inbox) if inbox is not None else None
        for name, keeper in (("idempotency", store), ("inbox", inbox)):
            _check_window(name, keeper, tolerance)
        if self._inbox is not None:
            self._inbox.attach(receiver)

    @property
    def inbox(self) -> Inbox | None:
        """The inbox, if the handlers run after the answer."""
        return self._inbox

    async def read(self, received: Received, driver: Driver) -> Event:
        """Decode the body; one that is no event is kept for an operator, if there is an inbox.

        Raises PayloadError as `parse_event` does; DeliveryError with unavailable.
        """
        try:
            return parse_event(received.body)
        except PayloadError as problem:
            if self._inbox is not None:
                delivery = _delivery(received, None, None, problem=str(problem))
                await _put(self._inbox, driver, delivery)
            raise

    async def accept(
        self,
        received: Received,
        event: Event,
        driver: Driver,
        handle: _Work,
        seen: Observation,
    ) -> None:
        """Call handle, or have the inbox keep the delivery, but once for one idempotency key.

        seen: told whether it is a duplicate, or nearly one.
        Raises what handle raises, and then the key is free again; DeliveryError with in_progress
        while another request is at it, with unavailable if store or inbox cannot do their work.
        """
        store, inbox = self._store, self._inbox
        chooser: Any = inbox if store is None else store  # never None as well
        delivery = _delivery(received, event, chooser.key)
        work = handle
        if inbox is not None:
            work = partial(_keep, inbox, driver, delivery, seen)
        if store is None:
            await work()
        else:
            await driver.finish(_do_once(store, driver, delivery, work, seen))


def _delivery(
    received: Received, event: Event | None, key: Key, *, problem: str | None = None
) -> Delivery:
    lines = (each if isinstance(each, str) else each.decode() for each in received.signature)
    return Delivery(
        key=delivery_key(received.body, event, key),
        occurrence="" if event is None else delivery_key(b"", event, occurrence_key),
        body=received.body,
        headers=tuple(("karla-signature", line) for line in lines),
        received_at=received.moment,
        ref=None if event is None else event.ref,
        event_group=None if event is None else event.event_group,
        problem=problem,
    )


async def _keep(inbox: Inbox, driver: Driver, delivery: Delivery, seen: Observation) -> None:
    novelty = await _put(inbox, driver, delivery)
    seen.is_duplicate = novelty == Novelty.DUPLICATE
    if novelty == Novelty.NEAR_DUPLICATE:
        _tell_near_duplicate(seen, delivery)


def _tell_near_duplicate(seen: Observation, delivery: Delivery) -> None:
    if not seen.is_near_duplicate:  # a store may have told before the inbox did
        seen.is_near_duplicate = True
        logs.near_duplicate(delivery)


async def _put(inbox: Inbox, driver: Driver, delivery: Delivery) -> Novelty:
    try:
        return await driver.put(inbox, delivery)
    except Exception as error:
        raise _unavailable("inbox", error) from error


async def _do_once(
    store: IdempotencyStore,
    driver: Driver,
    delivery: Delivery,
    work: _Work,
    seen: Observation,
) -> None:
    claim = await _claim(store, driver, delivery)
    if claim.is_near_duplicate:
        _tell_near_duplicate(seen, delivery)
    if claim.state == ClaimState.DONE:
        seen.is_duplicate = True
        return
    if claim.state == ClaimState.IN_PROGRESS:
        raise DeliveryError(Reason.IN_PROGRESS, f"key {delivery.key[:16]}")
    attempt = CURRENT.set(PlainAttempt(delivery.key))
    try:
        await work()
    except BaseException as raised:
        if driver.ends_work(raised):
            verb = "done" if isinstance(raised, Discard) else "release"
            await _settle(store, verb, driver, delivery.key, claim.token)
        raise
    finally:
        CURRENT.reset(attempt)
    await _settle(store, "done", driver, delivery.key, claim.token)


async def _claim(store: IdempotencyStore, driver: Driver, delivery: Delivery) -> Claim:
    try:
        claim: Claim = await driver.use(store, "claim", delivery.key, delivery.occurrence)
    except Exception as error:
        raise _unavailable("idempotency store", error) from error
    return claim


async def _settle(store: IdempotencyStore, verb: str, driver: Driver, key: str, token: str) -> None:
    # The handlers have returned, or have failed: the answer says so, whatever becomes of the
    # claim. What could not be marked as done may be handled again when the claim has lapsed.
    try:
        await driver.use(store, verb, key, token)
    except Exception:  # noqa: BLE001 - logged, with its traceback
        logs.claim_not_settled(key)


def _unavailable(what: str, error: Exception) -> DeliveryError:
    return DeliveryError(Reason.UNAVAILABLE, f"{what}: {type(error).__name__}")


def _checked_store(store: object) -> IdempotencyStore:
    if not has_methods(store, "claim", "done", "release"):
        raise ConfigurationError(
            "idempotency must be a store, as in MemoryStore() or SQLiteStore('karla.db'), not "
            + kind_of(store)
        )
    return cast("IdempotencyStore", store)


def _checked_inbox(inbox: object) -> Inbox:
    if not has_methods(inbox, "attach", "put", "put_async"):
        raise ConfigurationError(
            f"inbox must be an inbox, as in SQLiteInbox('karla.db'), not {kind_of(inbox)}"
        )
    return cast("Inbox", inbox)


def _check_window(name: str, keeper: object, tolerance: float) -> None:
    # A timestamp may lie ahead by the tolerance, and be as late by it. A user's own store or
    # inbox that has no window is taken as it is.
    window = getattr(keeper, "window", None)
    if isinstance(window, int | float) and window < 2 * tolerance:
        raise ConfigurationError(
            f"{name} forgets after {window:g} s what can be sent again for {2 * tolerance:g} s,"
            f" twice the tolerance: give it a window of {2 * tolerance:g} or more"
        )
