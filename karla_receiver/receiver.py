"""The path from request to response, written once and driven twice: synchronously and not."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypedDict, TypeVar, Unpack

from karla_receiver.checks import checked_bool, checked_count, wall_clock
from karla_receiver.decoding import parse_event
from karla_receiver.errors import (
    ConfigurationError,
    DeliveryError,
    PayloadError,
    Reason,
    RequestError,
    SignatureError,
)
from karla_receiver.handlers import Handlers
from karla_receiver.handlers.around import Around
from karla_receiver.handlers.routing import wanted_patterns
from karla_receiver.idempotency.protocol import IdempotencyStore
from karla_receiver.inbox.protocol import Inbox
from karla_receiver.observing import Observation, Observer, begin, checked_observer, finish, logs
from karla_receiver.outcomes import Discard, Handler, RetryLater
from karla_receiver.request import (
    REFUSALS,
    SUCCESS,
    BodyBuffer,
    Request,
    Response,
    content_length,
    relevant_headers,
    retry_later,
)
from karla_receiver.runners import ASYNC, Runner, run_sync
from karla_receiver.signature import SignatureHeader, Verifier, parse_header
from karla_receiver.signature.hints import hint_of_empty_body
from karla_receiver.signature.keys import SECRET_NAMES
from karla_receiver.stages import Incoming, Keep, chain, checked_inbox, checked_store, leave

__all__ = ["Receiver", "ReceiverOptions"]

_BYTES_LIKE = (bytes, bytearray, memoryview)

_HandlerT = TypeVar("_HandlerT", bound=Handler)
_AroundT = TypeVar("_AroundT", bound=Around)


class ReceiverOptions(TypedDict, total=False):
    """The options of a `Receiver`, for functions that hand them on."""

    tolerance: float
    clock: Callable[[], float] | None
    max_body_bytes: int
    require_https: bool
    idempotency: IdempotencyStore | None
    inbox: Inbox | None
    observer: Observer | None


class Receiver:
    """Verifies deliveries, decodes them, hands them to handlers, and says what to answer.

    secrets, tolerance, clock: as in `Verifier`.
    max_body_bytes: a longer body is refused, and not read to its end.
    require_https: refuse a request whose scheme is not https. Behind a proxy the scheme is what
    the server makes of the proxy's headers: have the server trust that proxy.
    idempotency: a store of `karla_receiver.idempotency`: what was handled before is answered 200
    and not handled again.
    inbox: one of `karla_receiver.inbox`: a delivery is answered 200 when it is kept there, and
    handled afterwards.
    observer: is told what became of each request, for metrics and traces.
    Raises ConfigurationError for an unusable secret or option: a receiver that exists can serve.

    A receiver may be shared by threads and event loops; register its handlers before.
    """

    def __init__(
        self,
        *secrets: str | bytes,
        tolerance: float = 300,
        clock: Callable[[], float] | None = None,
        max_body_bytes: int = 1_048_576,
        require_https: bool = False,
        idempotency: IdempotencyStore | None = None,
        inbox: Inbox | None = None,
        observer: Observer | None = None,
    ) -> None:
        try:
            self._verifier = self._make_verifier(*secrets, tolerance=tolerance, clock=clock)
        finally:
            del secrets  # so that no error report with local variables shows them
        if observer is not None:
            checked_observer(observer)
        self._observer = observer
        self._max_body_bytes = checked_count("max_body_bytes", max_body_bytes, least=1)
        self._require_https = checked_bool("require_https", require_https)
        self._clock = wall_clock if clock is None else clock
        self._handlers = Handlers()
        self._inbox = checked_inbox(inbox, tolerance)
        store = checked_store(idempotency, tolerance)
        keep = None if self._inbox is None else Keep(self._inbox, self._clock)
        self._stages = chain(self._handlers, store, keep, self._clock)
        self._no_event = leave if keep is None else keep.apart
        if self._inbox is not None:
            self._inbox.attach(self._handlers, self._verifier, observer)

    def _make_verifier(
        self, *secrets: str | bytes, tolerance: float, clock: Callable[[], float] | None
    ) -> Verifier:
        try:
            return Verifier(*secrets, tolerance=tolerance, clock=clock)
        finally:
            del secrets  # see above

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str] = os.environ, **options: Unpack[ReceiverOptions]
    ) -> Receiver:
        """Make a receiver with the secrets of the environment.

        KARLA_WEBHOOK_SECRET holds one secret, taken as it is; or KARLA_WEBHOOK_SECRETS several,
        separated by commas, while one replaces the other.
        options: as for `Receiver`.
        Raises ConfigurationError if both are set, or none, or one that is empty.
        """
        try:
            return cls(*_secrets_in(environ), **options)
        finally:
            del environ

    def on(self, *patterns: str, group: str | None = None) -> Callable[[_HandlerT], _HandlerT]:
        """Register the decorated function as a handler.

        patterns: refs or leading parts of them, as in Karla's enabled_events; `*` for all. A
        handler for a pattern under `shipments` is only ever called with a ShipmentEvent, one
        for a pattern under `claims` with a ClaimEvent.
        group: an event group, instead of patterns.
        The function is called with the event, and may be async. All handlers that want an event
        are called, in the order of registration, even if an earlier one raised.
        Raises ConfigurationError for a pattern that never matches, and for a function that does
        not take the event.
        """
        wanted = wanted_patterns(patterns, group)

        def register(handler: _HandlerT) -> _HandlerT:
            self._handlers.add(handler, wanted, group)
            return handler

        return register

    def around(self, function: _AroundT, *, outermost: bool = False) -> _AroundT:
        """Enter what function returns around every handler call; also usable as a decorator.

        function: is called with the event before each call of each handler, in a request and in
        an inbox's worker alike, and returns a context manager. A decorated view and a forwarded
        app count as one handler more. Around an async handler an async context manager works
        too, and both kinds are entered in the handler's task; around any other handler a context
        manager is entered in the handler's thread.
        outermost: enter it before those registered so far. The first registered is the outermost
        otherwise. A function that is registered already changes nothing.
        The context manager's `__exit__` gets what the handler raised; or, if a view answered with
        anything but success, a DeliveryError. An error that is raised in the function or in the
        context manager is the handler's error, and Discard and RetryLater mean the same as in a
        handler. A true value that `__exit__` returns suppresses nothing: raise Discard instead.
        Raises ConfigurationError for a function that does not take the event, or that cannot
        return a context manager.
        """
        self._handlers.add_around(function, outermost=outermost)
        return function

    def want(self, *patterns: str) -> None:
        """Add patterns to `enabled_events` for something that acts on events and is no handler.

        The adapters do so for a decorated view, and for an app that deliveries are forwarded to.
        Raises ConfigurationError for a pattern that never matches, and if the receiver has an
        inbox: what is kept there is handled later, by handlers, when no request is left to answer.
        """
        self._refuse_inbox()
        self._handlers.want(*patterns)

    def _refuse_inbox(self) -> None:
        if self._inbox is not None:
            raise ConfigurationError(
                "a receiver with an inbox hands events to its handlers, never to a view or a"
                " forwarded app: register functions with receiver.on, and mount the receiver by"
                " itself, as in KarlaApp(receiver) or endpoint(receiver)"
            )

    def replace_secrets(self, *secrets: str | bytes) -> None:
        """Same as `Verifier.replace_secrets`: rotate without a restart, under load."""
        try:
            self._verifier.replace_secrets(*secrets)
        finally:
            del secrets

    @property
    def inbox(self) -> Inbox | None:
        """The inbox that the receiver was made with, if any."""
        return self._inbox

    @property
    def enabled_events(self) -> list[str]:
        """The patterns to register with Karla: the fewest that cover what the handlers want.

        A handler of an event group needs every ref that the group may come under. Empty while
        nothing is registered.
        """
        return self._handlers.enabled_events

    def receive(self, request: Request, *, view: Handler | None = None) -> Response:
        """Take one request and return what to answer; async handlers are run to their end.

        view: called with the event after the handlers, and only if none of them raised: how
        adapters hand an event to a framework's view or to a wrapped app.
        Raises ConfigurationError for a view if the receiver has an inbox, as `want` does. Raises
        nothing for anything that a sender can do, but for one thing: RequestError with
        client_disconnected, where reading the body raised it, for nobody is left to answer.
        SystemExit and KeyboardInterrupt of a handler pass through.
        Async handlers run on the app's event loop, if one is known and runs; else on one that
        lasts as long as the process, in a thread of its own.
        """
        return run_sync(self._respond(request, self._handlers.runner, view))

    async def receive_async(self, request: Request, *, view: Handler | None = None) -> Response:
        """Same as `receive`, but on an asyncio event loop: sync handlers run in a thread.

        Raises ConfigurationError where no asyncio event loop runs, as under trio.
        """
        if not self._handlers.note_loop():
            raise ConfigurationError(
                "receive_async needs a running asyncio event loop, and there is none: under trio,"
                " call receive in a thread: trio.to_thread.run_sync(receiver.receive, request)"
            )
        return await self._respond(request, ASYNC, view)

    def note_loop(self) -> bool:
        """Take the asyncio event loop that runs in this thread, if any, for the app's.

        Async handlers that are called from a thread, as by an inbox's worker, then run on it.
        `receive_async` does so by itself; adapters do it when an app starts.
        Returns whether there is one.
        """
        return self._handlers.note_loop()

    @property
    def handlers(self) -> Handlers:
        """The handlers, to call them without a request: in a task of yours, or in a test."""
        return self._handlers

    def _respond(
        self, request: Request, runner: Runner, view: Handler | None
    ) -> Coroutine[Any, Any, Response]:
        if view is not None:
            self._refuse_inbox()
            view = self._handlers.surround(view)
        if self._observer is None:
            return self._answer(request, runner, view, None)
        return self._observed(self._observer, request, runner, view)

    async def _observed(
        self, observer: Observer, request: Request, runner: Runner, view: Handler | None
    ) -> Response:
        tell = begin(observer)
        observation = Observation()
        started = time.perf_counter()
        try:
            response = await self._answer(request, runner, view, observation)
            if observation.status is None:  # or a view has answered
                observation.status = response.status
            observation.reason = response.reason
            return response
        except DeliveryError as gone:
            observation.reason = gone.reason
            raise
        finally:
            observation.seconds = time.perf_counter() - started
            finish(tell, observation)

    async def _answer(
        self, request: Request, runner: Runner, view: Handler | None, seen: Observation | None
    ) -> Response:
        """The path: screen, read, verify, decode, then the stages, and at last the answer."""
        buffer = BodyBuffer(self._max_body_bytes)
        incoming = Incoming(view, seen)
        try:
            header = self._screen(request, incoming)
            if isinstance(request.body, _BYTES_LIKE):
                buffer.add(request.body)
            else:
                await runner.read(request.body, buffer)
            verified = self._verifier.verify_parsed(buffer.body, header)
            if seen is not None:
                seen.proven(verified, self._clock())
            incoming.body = buffer.body
            try:
                incoming.event = parse_event(incoming.body)
            except PayloadError as problem:
                await self._no_event(incoming, runner, str(problem))
                raise
            await self._stages(incoming, runner)
        except DeliveryError as refusal:
            if seen is not None and isinstance(refusal, SignatureError):
                seen.proven(refusal.verified, self._clock())
            hint = _hint_of(incoming, refusal, len(buffer.body))
            logs.refused(refusal, size=len(buffer.body), event=incoming.event, hint=hint)
            if refusal.status is None:
                raise
            response = REFUSALS[refusal.reason]
            return response.without_body() if request.method == "HEAD" else response
        except RetryLater as postponed:
            logs.postponed(postponed, size=len(buffer.body), event=incoming.event)
            return retry_later(postponed.retry_after)
        except Discard as discard:
            logs.discarded(discard, incoming.event)
        finally:
            if seen is not None:
                seen.event, seen.body_bytes = incoming.event, len(buffer.body)
        return SUCCESS

    def _screen(self, request: Request, incoming: Incoming) -> SignatureHeader:
        """Refuse what can be refused before the body is read."""
        # As received: what a method in lower case or an override header means is a guess.
        if request.method != "POST":
            raise RequestError(Reason.METHOD_NOT_ALLOWED, logs.quoted(request.method))
        if self._require_https and request.scheme != "https":
            raise RequestError(Reason.HTTPS_REQUIRED, logs.quoted(request.scheme))
        lines, lengths = relevant_headers(request.headers)
        incoming.signature = lines
        incoming.declared = declared = content_length(lengths)
        if declared is not None and declared > self._max_body_bytes:
            raise RequestError(Reason.BODY_TOO_LARGE, f"{declared} bytes declared")
        return parse_header(lines[0] if len(lines) == 1 else lines)


def _secrets_in(environ: Mapping[str, str]) -> list[str]:
    one, several = SECRET_NAMES
    has_one = one in environ
    has_several = several in environ
    try:
        for name in SECRET_NAMES:
            if name in environ and not environ[name].strip(" \t\r\n,"):
                raise ConfigurationError(
                    f"{name} is set, but empty: give it a value, or unset it (in a container's"
                    " environment: leave it out)"
                )
        if has_one and not has_several:
            return [environ[one]]
        if has_several and not has_one:
            return environ[several].split(",")
        found = "both are" if has_one else "neither is"
        raise ConfigurationError(
            "set KARLA_WEBHOOK_SECRET to the webhook's secret, or KARLA_WEBHOOK_SECRETS to"
            f" several, separated by commas: {found} set"
        )
    finally:
        del environ


def _hint_of(incoming: Incoming, refusal: DeliveryError, size: int) -> str:
    if size or refusal.reason is not Reason.SIGNATURE_MISMATCH:
        return ""
    return hint_of_empty_body(incoming.declared)
