"""What a handler may raise to say how a delivery is to go on, when neither success nor an error."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

from karla_receiver.errors import ConfigurationError

__all__ = ["Discard", "Handler", "Outcome", "RetryLater"]

# Any, because a handler names the type of event that its pattern promises.
Handler: TypeAlias = Callable[[Any], object]

# A day: a longer wait is a schedule, which belongs into the application.
_LONGEST_WAIT_SECONDS = 86_400
_LONGEST_REASON = 200


class Outcome(Exception):  # noqa: N818 - not an error: it is raised to leave the handler
    """The parent of the two outcomes below.

    reason: for the log, as text of at most 200 characters.
    """

    reason: str = ""


class RetryLater(Outcome):
    """Handle this delivery again later: what it needs is not there yet.

    after: seconds to wait, 0 to 86400. Without an inbox the answer is 503 with that Retry-After;
    with one the delivery waits in it, and the attempt counts.
    reason: for the log.
    """

    after: float = 60  # of a subclass that does not call this one's __init__

    def __init__(self, after: float = 60, reason: str = "") -> None:
        if (
            isinstance(after, bool)
            or not isinstance(after, int | float)
            or not 0 <= after <= _LONGEST_WAIT_SECONDS
        ):
            raise ConfigurationError(
                f"RetryLater takes seconds, 0 to {_LONGEST_WAIT_SECONDS}, not {after!a}"
            )
        super().__init__(after, reason)
        self.after = after
        self.reason: str = _told(reason)

    @property
    def retry_after(self) -> int:
        """The same in whole seconds, as the Retry-After header has it (RFC 9110, 10.2.3)."""
        return math.ceil(self.after)


class Discard(Outcome):
    """Do nothing with this delivery, now and ever: it is acknowledged, and counts as handled.

    reason: for the log.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason: str = _told(reason)


def _told(reason: object) -> str:
    # Often it is a field of the event, or an error: it must not fail where it is logged or kept.
    # Bytes as repr shows them, as str would, but str is an error for them under -bb.
    text = repr(reason) if isinstance(reason, bytes) else str(reason)
    return text.encode(errors="replace").decode()[:_LONGEST_REASON]
