"""Recorded deliveries: one line of JSON each, with the bytes of the body exactly as they came."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
import typer

from karla_receiver import ConfigurationError, Reason, RequestError
from karla_receiver.events import decodable
from karla_receiver.request import content_length
from karla_receiver.signature import HEADER

__all__ = ["Line", "Recorded", "Recorder", "decoded"]

_OF_A_PART: Final = {Reason.BODY_TOO_LARGE, Reason.BODY_INCOMPLETE, Reason.CLIENT_DISCONNECTED}

Line: TypeAlias = Annotated[
    int | None,
    typer.Option(min=1, help="Only the delivery in this line of the file.", show_default=False),
]


@decodable
class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """One delivery as it was received, and what came of it.

    received_at: unix seconds. headers: pairs of name and value in the order they came, one code
    point a byte. body: in the file, base64.
    is_whole: whether the end of the body was read.
    status, reason: of the answer; no reason for what was accepted.
    """

    karla_delivery: Literal[1] = 1  # the version of this format
    received_at: float
    method: str = "POST"
    path: str = "/"
    headers: list[tuple[str, str]]
    body: bytes
    is_whole: bool = True
    status: int | None = None
    reason: str | None = None

    def __post_init__(self) -> None:
        try:
            self.method.encode("ascii")
            "".join(name + value for name, value in self.headers).encode("latin-1")
        except UnicodeEncodeError:
            raise ValueError("a method or header that HTTP cannot carry") from None

    def __repr__(self) -> str:
        # Neither body nor headers: they hold personal data and a live signature.
        return f"<Recorded {self.method[:20]!a} {self.path[:80]!a}, {len(self.body)} bytes>"

    @property
    def is_cut(self) -> bool:
        """Whether body is only the beginning of what was sent, as far as that is known."""
        try:
            declared = content_length(self.lines_of("content-length"))
        except RequestError:
            declared = None
        if declared is None:
            return not self.is_whole
        # Older recordings do not say whether the end was read, but why it was not.
        is_whole = self.is_whole and self.reason not in _OF_A_PART
        return declared > len(self.body) and not is_whole

    @property
    def signature(self) -> list[str]:
        """The values of the signature header's lines."""
        return self.lines_of(HEADER.lower())

    def lines_of(self, name: str) -> list[str]:
        """Return the values of all lines of one header; name is in lower case."""
        return [value for key, value in self.headers if key.lower() == name]


def decoded(content: bytes, name: str, *, line: int | None = None) -> dict[int, Recorded]:
    """Return the deliveries recorded in content, each by the number of its line.

    name: what to call content in an error. line: return the delivery in this line alone.
    Raises ConfigurationError, with the line, for what is no recording.
    """
    deliveries: dict[int, Recorded] = {}
    for number, text in enumerate(content.splitlines(), 1):
        if text.strip():
            try:
                deliveries[number] = msgspec.json.decode(text, type=Recorded)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise ConfigurationError(
                    f"{name}, line {number} is no recorded delivery ({error}):"
                    " `karla-receiver listen --record FILE` writes them"
                ) from None
    if not deliveries:
        raise ConfigurationError(f"{name} is empty: there is no recorded delivery in it")
    if line is None:
        return deliveries
    if line not in deliveries:
        raise ConfigurationError(
            f"--line {line}: {name} has no delivery there, the last one is in line"
            f" {max(deliveries)}"
        )
    return {line: deliveries[line]}


class Recorder:
    """Appends deliveries to a file that only its owner may read, and keeps the last ones.

    keep: of how many at least the lines stay. The file is rewritten when it has twice as many.
    """

    def __init__(self, path: Path, keep: int) -> None:
        self._path = path
        self._lines: deque[bytes] = deque(maxlen=keep)
        self._written = 0
        if path.exists() and path.stat().st_size:
            for delivery in decoded(path.read_bytes(), str(path)).values():
                self._note(delivery)
        os.close(self._open(path, os.O_APPEND))

    def add(self, delivery: Recorded) -> None:
        """Append a delivery; it is in the file when this returns."""
        self._note(delivery)
        if self._written > 2 * (self._lines.maxlen or 0):
            self._rewrite()
        else:
            self._write(self._path, os.O_APPEND, self._lines[-1])

    def _note(self, delivery: Recorded) -> None:
        self._lines.append(msgspec.json.encode(delivery) + b"\n")
        self._written += 1

    def _rewrite(self) -> None:
        # Beside it and then in its place: there is a whole file at every moment.
        fresh = self._path.with_name(self._path.name + ".new")
        self._write(fresh, os.O_TRUNC, b"".join(self._lines))
        fresh.replace(self._path)
        self._written = len(self._lines)

    def _write(self, path: Path, mode: int, content: bytes) -> None:
        with os.fdopen(self._open(path, mode), "wb") as file:
            file.write(content)

    def _open(self, path: Path, mode: int) -> int:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | mode, 0o600)
        try:
            if os.fstat(descriptor).st_mode & 0o077:  # it was there already
                path.chmod(0o600)
        except PermissionError:
            os.close(descriptor)
            raise ConfigurationError(
                f"{path} is another user's, and others can read it: record to another file"
            ) from None
        return descriptor
