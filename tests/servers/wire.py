"""A client that sends bytes as they are and notes what comes back, up to the end."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from io import BytesIO
from itertools import chain
from typing import Any, Final, TypeAlias

from karla_receiver.views.paths import DEFAULT_PATH
from tests.waiting import PATIENCE_SECONDS

SECONDS = PATIENCE_SECONDS


@dataclass(frozen=True)
class Answered:
    """A part of a script: wait until this many answers are there, interim ones too."""

    count: int


@dataclass(frozen=True)
class HalfClose:
    """A part of a script: say that nothing more will be sent."""


@dataclass(frozen=True)
class Pause:
    """A part of a script: wait for the end, but no longer than this."""

    seconds: float


@dataclass(frozen=True)
class Leave:
    """A part of a script: close, and wait for nothing."""


Part: TypeAlias = bytes | Answered | HalfClose | Pause | Leave


@dataclass(frozen=True)
class Answer:
    """One response as it came; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


def head(
    name: str,
    headers: Iterable[tuple[str, str]],
    *,
    method: str = "POST",
    query: str = "",
    version: str = "1.1",
) -> bytes:
    """Return the head of a request to the receiver of a name; text is latin-1."""
    target = f"/{name}{DEFAULT_PATH}" + (f"?{query}" if query else "")
    lines = [f"{method} {target} HTTP/{version}", *(f"{key}: {value}" for key, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def chunked(body: bytes, size: int) -> bytes:
    """Return a body in chunks of a size, and the end of it."""
    places = range(0, len(body), size)
    pieces = [body[place : place + size] for place in places]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""])


def exchange(port: int, script: Iterable[Part], method: str = "POST") -> list[Answer]:
    """Play a script on a connection of its own; return the answers, interim ones too.

    Raises TimeoutError if the server neither answers nor closes in time.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
        connection.setblocking(False)
        exchanged = _Exchange(connection, method)
        exchanged.play(script)
    return exchanged.answers()


class _Exchange:
    def __init__(self, connection: socket.socket, method: str) -> None:
        self._connection = connection
        self._method = method
        self._received = bytearray()
        self._is_at_end = False
        self._is_refused = False
        self._deadline = time.monotonic() + SECONDS

    def answers(self) -> list[Answer]:
        return parse(bytes(self._received), self._method)

    def play(self, script: Iterable[Part]) -> None:
        for part in chain(script, [None]):
            match part:
                case bytes():
                    self._send(part)
                case Answered(count):
                    while not self._is_at_end and len(self.answers()) < count:
                        self._wait(selectors.EVENT_READ)
                case Pause(seconds):
                    self._pause(seconds)
                case HalfClose():
                    with suppress(OSError):  # closed by the other side already
                        self._connection.shutdown(socket.SHUT_WR)
                case Leave():
                    return
                case None:
                    self._read_to_end()

    def _pause(self, seconds: float) -> None:
        deadline, self._deadline = self._deadline, time.monotonic() + seconds
        with suppress(TimeoutError):
            self._read_to_end()
        self._deadline = deadline

    def _read_to_end(self) -> None:
        while not self._is_at_end:
            self._wait(selectors.EVENT_READ)

    def _send(self, data: bytes) -> None:
        # Reads in between: a server that answers early would else be stopped, and so would we.
        rest = memoryview(data)
        while rest and not self._is_at_end and not self._is_refused:
            if self._wait(selectors.EVENT_READ | selectors.EVENT_WRITE) & selectors.EVENT_WRITE:
                try:
                    rest = rest[self._connection.send(rest) :]
                except BlockingIOError:
                    pass
                except OSError:
                    self._is_refused = True  # what was answered before can still be read

    def _wait(self, events: int) -> int:
        with selectors.DefaultSelector() as selector:
            selector.register(self._connection, events)
            ready = selector.select(max(0, self._deadline - time.monotonic()))
        if not ready:
            raise TimeoutError(f"neither answered nor closed after {bytes(self._received)!r}")
        happened = ready[0][1]
        if happened & selectors.EVENT_READ:
            self._receive()
        return happened

    def _receive(self) -> None:
        try:
            data = self._connection.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # reset: the end, as any other
        self._received += data
        self._is_at_end = not data


class _Recording(BytesIO):
    """What was received, as http.client wants it: a socket, and a file that stays open."""

    def makefile(self, *_: Any) -> BytesIO:
        return self

    def close(self) -> None:
        """Stay open: the next answer follows."""


def parse(received: bytes, method: str) -> list[Answer]:
    """Cut what was received into answers. A last one that is cut off is none."""
    recording: Final[Any] = _Recording(received)
    answers: list[Answer] = []
    if received.startswith(b"HTTP/1.1 100"):
        answers.append(Answer(100, {}, b""))  # http.client skips it
    while recording.tell() < len(received):
        response = HTTPResponse(recording, method=method)
        try:
            response.begin()
            body = response.read()
        except HTTPException:
            break
        headers = {key.lower(): value for key, value in response.getheaders()}
        answers.append(Answer(response.status, headers, body))
    return answers
