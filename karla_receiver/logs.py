"""What goes to the log: one line a refusal, and never a body, a secret or a signature."""

from __future__ import annotations

import logging
from typing import Final

from karla_receiver.errors import DeliveryError, Reason, SignatureError
from karla_receiver.events import Event

__all__ = ["logger", "quoted", "refused"]

logger: Final = logging.getLogger("karla_receiver")

_LEVELS: Final = {
    Reason.CLIENT_DISCONNECTED: logging.INFO,
    Reason.HANDLER_ERROR: logging.ERROR,
    Reason.UNDECODABLE_EVENT: logging.ERROR,
    Reason.UNAVAILABLE: logging.ERROR,
}


def quoted(text: str) -> str:
    """Make what a sender controls fit for a log line: ASCII, escaped, at most 80 characters."""
    return ascii(text[:80])


def refused(refusal: DeliveryError, *, size: int, event: Event | None) -> None:
    """Log one refusal, with the traceback of the handler's error that caused it, if any.

    size: bytes of the body that were read.
    event: if the delivery came so far; its ref is named.
    """
    skew = refusal.clock_skew if isinstance(refusal, SignatureError) else None
    logger.log(
        _LEVELS.get(refusal.reason, logging.WARNING),
        "refused a delivery: %s (status %s, %d bytes%s%s)%s",
        refusal.reason,
        refusal.status,
        size,
        "" if skew is None else f", clock skew {skew:+.1f} s",
        "" if event is None else f", ref {quoted(event.ref or '')}",
        f": {refusal.detail}" if refusal.detail else "",
        exc_info=refusal.__cause__,
        extra={
            "reason": str(refusal.reason),
            "status": refusal.status,
            "body_bytes": size,
            "clock_skew": skew,
        },
    )
