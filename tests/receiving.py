"""The two ways to drive a receiver, as one: the fixture `receive` gives a test each in turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeAlias

from karla_receiver import Receiver, Request, Response

__all__ = ["Receive", "receive_async", "receive_sync"]

Receive: TypeAlias = Callable[..., Response]


def receive_sync(receiver: Receiver, request: Request, view: Any = None) -> Response:
    return receiver.receive(request, view=view)


def receive_async(receiver: Receiver, request: Request, view: Any = None) -> Response:
    return asyncio.run(receiver.receive_async(request, view=view))
