"""What a framework gives of itself, to take part in what is tried at all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from karla_receiver import Event
from tests.asgi_server import knock_at
from tests.doors import Answer, Door, Knock, run_wsgi, wsgi_environ

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


# Sends requests to what a guide's program defined, and returns the statuses of the answers.
Ask: TypeAlias = Callable[[dict[str, Any], list[Knock]], list[int | None]]


def ask_asgi(names: dict[str, Any], knocks: list[Knock]) -> list[int | None]:
    return [knock_at(names["app"], knock).status for knock in knocks]


def ask_wsgi(names: dict[str, Any], knocks: list[Knock]) -> list[int | None]:
    return [run_wsgi(names["app"], wsgi_environ(knock))[0] for knock in knocks]


@dataclass(frozen=True)
class Example:
    """How to start an example, and what it prints when it has handled the delivery."""

    command: str
    handled: str = "order NT-20417: thank the customer"


@dataclass(frozen=True, kw_only=True)
class Framework:
    """What there is to know of a framework.

    imports: what its adapter may import beside the standard library and the core.
    doors: the ways through it to a receiver's handlers, for the table of attacks.
    not_let_in: attacks that it refuses to read by itself, with a ValueError.
    joins_messages: doors that read a body from ASGI messages, one by one.
    reads_by_length: doors that read a body from a stream, as far as its declared length.
    shop: serves a decorated view.
    has_webhook: whether a view is decorated with `webhook`.
    runs_streams: whether the adapter runs a view's stream to its end, as part of the view.
    abort: an exception by which a view answers 404; None if there is no such, nor a stream.
    ask: asks what its guide's programs made.
    configured: makes the settings of a guide's program hold, if the framework has settings.
    serves: the command by which its guide serves an app, and the port; None if nothing does.
    examples: by the names of their files in examples/.
    """

    imports: frozenset[str]
    doors: dict[str, Door]
    not_let_in: frozenset[str] = frozenset()
    joins_messages: tuple[str, ...] = ()
    reads_by_length: tuple[str, ...] = ()
    shop: Shop
    has_webhook: bool = True
    runs_streams: bool = False
    abort: Exception | None
    ask: Ask
    configured: Callable[[dict[str, Any]], AbstractContextManager[object]] = nullcontext
    serves: tuple[str, int] | None
    examples: dict[str, Example] = field(default_factory=dict[str, Example])
