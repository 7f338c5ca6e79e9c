"""The raw body: bytes and nothing else, collected up to a limit."""

from __future__ import annotations

import sys
from typing import cast

from karla_receiver.errors import Reason, RequestError

__all__ = ["BodyBuffer", "checked_body"]


def checked_body(body: object) -> bytes:
    """Return the body if it is bytes-like; raise TypeError, with the remedy, if it is not."""
    if isinstance(body, bytes | bytearray):
        return cast("bytes", body)
    if isinstance(body, memoryview):
        return body.tobytes()
    raise TypeError(
        f"the body must be bytes, not {type(body).__name__}. The signature covers the bytes as"
        " they came, so a body that was parsed or decoded cannot be verified. Take the raw bytes:"
        " request.get_data() in Flask, await request.body() in Starlette and FastAPI,"
        " request.body in Django, await request.read() in aiohttp."
    )


class BodyBuffer:
    """Joins the chunks of one body and refuses the one that passes the limit.

    A single chunk is kept as it is, so that the usual request is never copied.
    limit: in bytes; none if left out.
    body: the bytes so far; a bytearray if they came in several chunks.
    """

    __slots__ = ("_limit", "body")

    def __init__(self, limit: int = sys.maxsize) -> None:
        self._limit = limit
        self.body: bytes = b""

    def add(self, chunk: bytes) -> None:
        """Add a chunk. Raises RequestError with body_too_large beyond the limit."""
        if type(chunk) is not bytes:
            chunk = bytes(checked_body(chunk))  # it may be a buffer that its owner fills again
        if len(self.body) + len(chunk) > self._limit:
            raise RequestError(Reason.BODY_TOO_LARGE, f"more than {self._limit} bytes")
        if not self.body:
            self.body = chunk
        elif chunk:
            if type(self.body) is bytes:
                self.body = cast("bytes", bytearray(self.body))
            self.body += chunk
