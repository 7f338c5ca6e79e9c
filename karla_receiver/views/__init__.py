"""Decorated views, in any framework: which receiver, one call, and what the view answers."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from functools import partial, update_wrapper
from typing import Any, TypeAlias, TypeVar, cast

from karla_receiver.errors import ConfigurationError, Reason, RequestError
from karla_receiver.events import Event
from karla_receiver.handlers.calling import is_success
from karla_receiver.handlers.routing import check_callable, check_view
from karla_receiver.observing.logs import logger
from karla_receiver.receiver import Receiver
from karla_receiver.request import REFUSALS, SUCCESS, BodyBuffer, Request, Response
from karla_receiver.runners import is_async

__all__ = [
    "Aborts",
    "EventView",
    "KeptBody",
    "Secrets",
    "Status",
    "check_app",
    "check_receiver",
    "decorator",
    "receive",
    "receive_async",
    "refuse_stream",
    "to_receiver",
    "warn_of_lost_body",
]

_MARK = "_receives_karla_events"  # other decorators take it along

_ViewT = TypeVar("_ViewT", bound=Callable[..., Any])
_MadeT = TypeVar("_MadeT", bound=Callable[..., Any])

Secrets: TypeAlias = tuple[str | bytes | Receiver, ...]
EventView: TypeAlias = Callable[[Event], object]
# Reads the HTTP status of what a view answers in a framework; raises if that is no answer, and
# for a stream, with `refuse_stream`.
Status: TypeAlias = Callable[[Any], int]
# What a framework's views raise to answer with: not found, forbidden, redirected.
Aborts: TypeAlias = tuple[type[Exception], ...]


def to_receiver(secrets: Secrets) -> Receiver:
    """Return the receiver that a decorator was given, or one with the secrets that it was given.

    Raises ConfigurationError if they are both, none, unusable, or the view: a forgotten secret.
    """
    try:
        if len(secrets) == 1 and isinstance(secrets[0], Receiver):
            return secrets[0]
        if len(secrets) == 1 and callable(secrets[0]):
            raise ConfigurationError("webhook needs a secret: write @webhook(secret)")
        if any(isinstance(secret, Receiver) for secret in secrets):
            raise ConfigurationError("webhook takes secrets or one Receiver, not both")
        return Receiver(*cast("tuple[str | bytes, ...]", secrets))
    finally:
        del secrets  # so that no error report with local variables shows them


def decorator(
    secrets: Secrets, make: Callable[[Receiver, _ViewT], _MadeT], *arguments: str
) -> Callable[[_ViewT], _MadeT]:
    """Return what an adapter's `webhook` returns: the decorator of a view.

    secrets: what `webhook` was given. It must delete its own reference in a finally clause, so
    that no error report with local variables shows them.
    make: makes what the framework calls, of a receiver and a view.
    arguments: names what the view is called with; it may need more, which come by name.
    Raises ConfigurationError as `to_receiver` does. The decorator raises it for a view that does
    not take the arguments, could do without the event, or is decorated already, and if the
    receiver has an inbox.
    """
    try:
        receiver = to_receiver(secrets)
    finally:
        del secrets

    def decorate(view: _ViewT) -> _MadeT:
        _check(view, arguments)
        receiver.want("*")
        return _wrapped(make(receiver, view), view)

    return decorate


def _wrapped(made: _MadeT, view: Callable[..., Any]) -> _MadeT:
    """Give what was made the name of its view, and what other decorators have noted on it."""
    own = dict(vars(made))
    update_wrapper(made, view)
    # A view may be an object with attributes of the same names.
    vars(made).update(own, **{_MARK: True})
    return made


def _check(view: Callable[..., Any], arguments: tuple[str, ...]) -> None:
    if hasattr(view, _MARK):
        raise ConfigurationError(
            "the view is decorated with @webhook already: only one of the two would verify, so give"
            " one @webhook all secrets, or a Receiver"
        )
    check_callable(view, "a view", *arguments, others_allowed=True)
    # What comes before the event is the framework's, and is there without us too.
    bound = partial(view, *arguments[: arguments.index("event")])
    vars(bound)["__qualname__"] = getattr(view, "__qualname__", type(view).__qualname__)
    check_view(bound)


def receive(
    receiver: Receiver,
    request: Request,
    view: EventView | None,
    status: Status,
    aborts: Aborts = (),
) -> object:
    """Receive, with a view; return what the view answers, or a `Response` in its place.

    A `Response` comes from a refusal, for a view that answers None, and if there is no view. The
    view may be async.
    status: reads the HTTP status of what a view answers, and of an abort. Only a 2xx is success.
    aborts: raised again if the view raised one of them; any other error of it is a refusal.
    """
    call = _Call(view, status, aborts)
    return call.answer_or(receiver.receive(request, view=call.handler if view else None))


async def receive_async(
    receiver: Receiver,
    request: Request,
    view: EventView | None,
    status: Status,
    aborts: Aborts = (),
) -> object:
    """Same as `receive`, but on an asyncio event loop: a sync view runs in a thread.

    When the sender is gone the answer is one that nobody gets, since frameworks insist on one.
    """
    call = _Call(view, status, aborts)
    try:
        response = await receiver.receive_async(request, view=call.handler if view else None)
    except RequestError:
        response = REFUSALS[Reason.BODY_INCOMPLETE]
    return call.answer_or(response)


class _Call:
    """One call of a view, and what came of it."""

    def __init__(self, view: EventView | None, status: Status, aborts: Aborts) -> None:
        self._view = cast("EventView", view)
        self._status = status
        self._aborts = aborts
        self._answer: object = None
        self._abort: Exception | None = None
        self._answered: int | None = None

    @property
    def handler(self) -> Callable[[Event], object]:
        """What to hand to a receiver: it is async if the view is."""
        return self.awaited if is_async(self._view) else self.started

    def started(self, event: Event) -> int | Awaitable[int]:
        try:
            answer = self._view(event)
        except self._aborts as abort:
            return self._keep_abort(abort)
        return self._finish(answer) if inspect.isawaitable(answer) else self._keep(answer)

    async def awaited(self, event: Event) -> int:
        return await self._finish(cast("Awaitable[object]", self._view(event)))

    async def _finish(self, answer: Awaitable[object]) -> int:
        try:
            return self._keep(await answer)
        except self._aborts as abort:
            return self._keep_abort(abort)

    def _keep(self, answer: object) -> int:
        self._answered = SUCCESS.status if answer is None else self._status(answer)
        self._answer = answer  # only now: what has no status is no answer
        return self._answered

    def _keep_abort(self, abort: Exception) -> int:
        self._abort = abort
        self._answered = self._status(abort)
        return self._answered

    def answer_or(self, response: Response) -> object:
        if self._answered is None or is_success(self._answered) != is_success(response.status):
            return response  # what is around the view has failed after it, or discarded the event
        if self._abort is not None:
            raise self._abort
        return response if self._answer is None else self._answer


def refuse_stream(is_stream: bool) -> None:
    """Raise TypeError if what a view answers is produced while it is sent.

    The view's code would run after the delivery has counted as handled, and no error in it could
    bring the delivery back.
    """
    if is_stream:
        raise TypeError(
            "the view answered with a stream, whose code would run after the delivery has counted"
            " as handled: do the work in the view, and answer with a whole body"
        )


class KeptBody:
    """The chunks of a body, kept as they pass, for what reads the body after the receiver.

    gone: what the framework raises while reading when the sender has gone away.
    is_declared: tells whether the request says that it has a body; asked if none came.
    culprits: what may have consumed it then, for `warn_of_lost_body`.
    """

    def __init__(
        self,
        chunks: AsyncIterable[bytes],
        gone: Aborts,
        is_declared: Callable[[], bool],
        culprits: str,
    ) -> None:
        self._chunks = chunks
        self._gone = gone
        self._is_declared = is_declared
        self._culprits = culprits
        self._kept = BodyBuffer()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._chunks:
                self._kept.add(chunk)
                yield chunk
        except self._gone:
            raise RequestError(Reason.CLIENT_DISCONNECTED) from None
        if not self._kept.body and self._is_declared():
            warn_of_lost_body(self._culprits)

    @property
    def joined(self) -> bytes:
        """What has passed so far."""
        return bytes(self._kept.body)


def warn_of_lost_body(culprits: str) -> None:
    """Log that something consumed the body before the receiver could, as a hint for a 401.

    culprits: what reads it so that it cannot be read again, in this framework.
    """
    logger.warning(
        "the body of a delivery was consumed before @webhook could read it: something used %s"
        " first, and must not at this route",
        culprits,
    )


def check_app(app: object, what: str, *arguments: str) -> None:
    """Raise ConfigurationError unless app is callable with that many arguments.

    what: "an ASGI app" or "a WSGI app"; the number of arguments tells the two apart.
    """
    if isinstance(app, Receiver):
        raise ConfigurationError(f"the receiver comes second, after {what}")
    check_callable(app, what, *arguments)


def check_receiver(receiver: object) -> Receiver:
    """Return the receiver. Raises ConfigurationError if it is something else, as a secret."""
    if not isinstance(receiver, Receiver):
        raise ConfigurationError(
            f"expected a Receiver, as in Receiver(secret), not {type(receiver).__name__}"
        )
    return receiver
