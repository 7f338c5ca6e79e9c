"""One view in every framework, for what decorated views do alike."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, TypeAlias

from karla_receiver import Event
from tests.doors import Answer, Knock

# What the view is to do, given the event and the body as the framework's view reads it: return
# None, or the status to answer with "own" by itself, or raise what comes back.
Behaviour: TypeAlias = Callable[[Event, bytes], int | Exception | None]

# Instead of a status: answer with a stream of what `late` yields.
STREAM = 0

# Serves one request with the view: behaviour, what @webhook is given, whether the view is async.
Shop: TypeAlias = Callable[[Behaviour, tuple[Any, ...], bool, Knock], Answer]


def outcome(behaviour: Behaviour, event: Event, body: bytes) -> int | None:
    """Do what the behaviour says."""
    result = behaviour(event, body)
    if isinstance(result, Exception):
        raise result
    return result


async def late() -> AsyncIterator[bytes]:
    """Fail when the answer is being sent."""
    raise LookupError("the work failed")
    yield b""
