"""Keep each delivery before it is acknowledged, and handle it afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from karla_receiver.delivery import Delivery
from karla_receiver.handlers import Handlers
from karla_receiver.inbox.protocol import Inbox, Novelty

if TYPE_CHECKING:
    from karla_receiver.inbox.sqlite import SQLiteInbox, by_subject

__all__ = ["Delivery", "Handlers", "Inbox", "Novelty", "SQLiteInbox", "by_subject"]


def __getattr__(name: str) -> Any:
    # Not at the top: every receiver imports this, and not all need SQLite.
    if name not in ("SQLiteInbox", "by_subject"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from karla_receiver.inbox import sqlite

    return getattr(sqlite, name)
