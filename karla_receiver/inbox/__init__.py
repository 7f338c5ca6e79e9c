"""Keep each delivery before it is acknowledged, and handle it afterwards."""

from __future__ import annotations

from karla_receiver.inbox.protocol import Inbox

__all__ = ["Inbox"]
