"""An ASGI app that receives deliveries as any other does, and tells what each was like."""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextvars import ContextVar
from typing import NamedTuple, cast

import msgspec

from karla_receiver import Receiver, Request, RequestError, Response
from karla_receiver.adapters.asgi import KarlaApp, Receive, Scope, Send
from karla_receiver.cli.recording import Recorded
from karla_receiver.outcomes import Handler

__all__ = ["Seen", "WatchedApp"]

_MAX_BODY_BYTES = 1_048_576

_path: ContextVar[str] = ContextVar("path")


class Seen(NamedTuple):
    """A delivery that was answered, and how long that took from the first byte of its body."""

    delivery: Recorded
    seconds: float


class WatchedApp:
    """`KarlaApp` around a receiver without handlers.

    notify: called with each delivery when its answer is known, on the server's thread.
    Raises ConfigurationError for what a `Receiver` refuses.
    """

    def __init__(self, *secrets: str, tolerance: float, notify: Callable[[Seen], object]) -> None:
        self._app = KarlaApp(_Watched(*secrets, tolerance=tolerance, notify=notify))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        _path.set(scope.get("path", ""))
        await self._app(scope, receive, send)


class _Watched(Receiver):
    def __init__(self, *secrets: str, tolerance: float, notify: Callable[[Seen], object]) -> None:
        super().__init__(*secrets, tolerance=tolerance, max_body_bytes=_MAX_BODY_BYTES)
        self._notify = notify

    async def receive_async(self, request: Request, *, view: Handler | None = None) -> Response:
        tee = _Tee(cast("AsyncIterable[bytes]", request.body))
        received_at, started = time.time(), time.perf_counter()
        status, reason = None, None
        try:
            watched = msgspec.structs.replace(request, body=tee)
            response = await super().receive_async(watched, view=view)
            status, reason = response.status, response.reason
            # A receiver reads no body that it refuses for its header: to explain that, it takes
            # both.
            await tee.read_on(_MAX_BODY_BYTES)
        except RequestError as error:
            reason = reason or error.reason  # the sender went away
            raise
        finally:
            delivery = Recorded(
                received_at=received_at,
                method=request.method,
                path=_path.get(),
                headers=_pairs(request),
                body=bytes(tee.content),
                is_whole=tee.has_ended,
                status=status,
                reason=reason,
            )
            self._notify(Seen(delivery, time.perf_counter() - started))
        return response


def _pairs(request: Request) -> list[tuple[str, str]]:
    pairs = cast("list[tuple[bytes, bytes]]", request.headers)
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in pairs]


class _Tee:
    """The chunks of a body, which are kept as they go by."""

    def __init__(self, chunks: AsyncIterable[bytes]) -> None:
        self._chunks: AsyncIterator[bytes] = aiter(chunks)
        self.content: bytearray = bytearray()
        self.has_ended = False

    def __aiter__(self) -> _Tee:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await anext(self._chunks)
        except StopAsyncIteration:
            self.has_ended = True
            raise
        self.content += chunk
        return chunk

    async def read_on(self, limit: int) -> None:
        """Read the rest, but stop beyond limit."""
        async for _ in self:
            if len(self.content) > limit:
                return
