"""What goes to the log: one line a refusal, and never a body, a secret or a signature."""

from __future__ import annotations

import logging
from typing import Final

from karla_receiver.delivery import Delivery
from karla_receiver.errors import DeliveryError, Reason, SignatureError
from karla_receiver.events import Event
from karla_receiver.outcomes import Discard, RetryLater

__all__ = [
    "claim_not_settled",
    "discarded",
    "key_function_failed",
    "logger",
    "near_duplicate",
    "observer_failed",
    "postponed",
    "quoted",
    "refused",
    "too_many_unwanted",
    "unwanted",
]

logger: Final = logging.getLogger("karla_receiver")

_LEVELS: Final = {
    Reason.CLIENT_DISCONNECTED: logging.INFO,
    Reason.IN_PROGRESS: logging.INFO,
    Reason.RETRY_LATER: logging.INFO,
    Reason.HANDLER_ERROR: logging.ERROR,
    Reason.UNDECODABLE_EVENT: logging.ERROR,
    Reason.UNAVAILABLE: logging.ERROR,
}


def quoted(text: object) -> str:
    """Make what a sender controls fit for a log line: ASCII, escaped, at most 80 characters."""
    return ascii(str(text)[:80])


def refused(refusal: DeliveryError, *, size: int, event: Event | None, hint: str = "") -> None:
    """Log one refusal, with the traceback of the handler's error that caused it, if any.

    size: bytes of the body that were read.
    event: if the delivery came so far; its ref is named.
    hint: what may be wrong beside the refusal's own detail.
    """
    level = _LEVELS.get(refusal.reason, logging.WARNING)
    if not logger.isEnabledFor(level):
        return
    skew = refusal.clock_skew if isinstance(refusal, SignatureError) else None
    detail = "; ".join(filter(None, (refusal.detail, hint)))
    logger.log(
        level,
        "refused a delivery: %s (status %s, %d bytes%s%s)%s",
        refusal.reason,
        refusal.status,
        size,
        "" if skew is None else f", clock skew {skew:+.1f} s",
        "" if event is None else f", ref {_ref(event)}",
        f": {detail}" if detail else "",
        exc_info=refusal.__cause__,
        extra={
            "reason": str(refusal.reason),
            "status": refusal.status,
            "body_bytes": size,
            "clock_skew": skew,
            **_told_of(event),
        },
    )


def postponed(outcome: RetryLater, *, size: int, event: Event | None) -> None:
    """Log the refusal of a handler that asked for a later try."""
    detail = f"in {outcome.retry_after} s: {quoted(outcome.reason)}"
    refused(DeliveryError(Reason.RETRY_LATER, detail), size=size, event=event)


def discarded(outcome: Discard, event: Event | None) -> None:
    """Log that a handler chose to do nothing with a delivery."""
    logger.info(
        "discarded a delivery (ref %s): %s",
        _ref(event),
        quoted(outcome.reason),
        extra=_told_of(event),
    )


def unwanted(event: Event) -> None:
    """Log that no handler wants an event."""
    logger.warning(
        "no handler wants this delivery: ref %s, event group %s. It is acknowledged, and nothing"
        " else is done. Later ones with this ref are not logged.",
        _ref(event),
        quoted(event.event_group),
        extra=_told_of(event),
    )


def too_many_unwanted(number: int) -> None:
    """Log that no further refs are logged that no handler wants."""
    logger.warning(
        "no handler wants more than %d different refs: further ones are not logged", number
    )


def near_duplicate(delivery: Delivery) -> None:
    """Log that one occurrence came in other bytes, and so is handled as another delivery."""
    key = delivery.key[:16]
    logger.info(
        "the occurrence of delivery %s came before, in other bytes",
        key,
        extra={"key": key, **_told_of(delivery)},
    )


def key_function_failed(event: Event) -> None:
    """Log, inside the handler of what a key function raised, that the body decides instead."""
    logger.exception(
        "the key function failed (ref %s): the digest of the body is this delivery's key instead",
        _ref(event),
        extra=_told_of(event),
    )


def claim_not_settled(key: str) -> None:
    """Log, inside the handler of what a store raised, that it still holds a claim."""
    logger.exception(
        "the idempotency store keeps its claim on delivery %s, which may so be refused until the"
        " claim lapses, and be handled again then",
        key[:16],
        extra={"key": key[:16]},
    )


def observer_failed() -> None:
    """Log, inside the handler of what an observer raised, that it did."""
    logger.exception("the observer raised; the delivery is answered all the same")


def _ref(event: Event | None) -> str:
    return quoted(event.ref or "") if event else ""


def _told_of(event: Event | Delivery | None) -> dict[str, str | None]:
    return {
        name: None if text is None else quoted(text)[1:-1]
        for name, text in (
            ("ref", event and event.ref),
            ("event_group", event and event.event_group),
        )
    }
