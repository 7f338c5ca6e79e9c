"""A configured secret, checked once and turned into a keyed HMAC-SHA256."""

from __future__ import annotations

import hashlib
from codecs import BOM_UTF8
from typing import Final, Protocol

from karla_receiver.errors import ConfigurationError

__all__ = ["SECRET_NAMES", "Key", "make_keys"]

# The environment variables, and settings, that hold one secret, and several.
SECRET_NAMES: Final = ("KARLA_WEBHOOK_SECRET", "KARLA_WEBHOOK_SECRETS")

_BLOCK_BYTES = 64
_INNER_PAD = bytes(byte ^ 0x36 for byte in range(256))
_OUTER_PAD = bytes(byte ^ 0x5C for byte in range(256))


class _Hash(Protocol):
    """A SHA-256 under way, as `hashlib` makes it."""

    def copy(self) -> _Hash: ...
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


class Key:
    """HMAC-SHA256 (RFC 2104) under one secret, of which only the two hash states are kept.

    The states are made here and copied for each message: half the cost of a one-shot HMAC on
    a small body, and no secret left in memory that a repr, a pickle or a dump could show.
    """

    __slots__ = ("inner", "outer")

    def __init__(self, secret: bytes) -> None:
        if len(secret) > _BLOCK_BYTES:
            secret = hashlib.sha256(secret).digest()
        block = secret.ljust(_BLOCK_BYTES, b"\0")
        self.inner: _Hash = hashlib.sha256(block.translate(_INNER_PAD))
        self.outer: _Hash = hashlib.sha256(block.translate(_OUTER_PAD))

    def digest(self, prefix: bytes, body: bytes) -> bytes:
        """Return the 32 bytes of the MAC over prefix and body.

        The body goes to the hash as it is: never decoded, copied or joined.
        """
        inner = self.inner.copy()
        inner.update(prefix)
        inner.update(body)
        outer = self.outer.copy()
        outer.update(inner.digest())
        return outer.digest()

    def __repr__(self) -> str:
        return "<Key>"


def make_keys(secrets: tuple[str | bytes, ...]) -> tuple[Key, ...]:
    """Check each secret and key it. The text of a secret is used as given, never decoded.

    Raises ConfigurationError for a secret with which every delivery would be refused for ever,
    or which anybody could sign with. The message says which one by position, never its text.
    """
    try:
        if not secrets:
            raise ConfigurationError(
                "no secret given: pass Karla's webhook secret, or use Receiver.from_env()"
            )
        keys: list[Key] = []
        for place, secret in enumerate(secrets, 1):
            problem = _problem_of(secret)
            if problem is not None:
                raise ConfigurationError(f"secret {place} {problem}")
            keys.append(Key(secret.encode() if isinstance(secret, str) else secret))
        return tuple(keys)
    finally:
        # Error reports with local variables are common: no frame that an error leaves holds one.
        secret = ""
        del secrets


def _problem_of(secret: object) -> str | None:
    if secret is None:
        return "is None: is its environment variable set?"
    if not isinstance(secret, str | bytes):
        kind = type(secret).__name__
        return f"is a {kind}, not str or bytes: pass several secrets as separate arguments"
    if not secret.strip():
        return "is empty or blank: anybody could sign with it"
    if secret.strip() != secret:
        return "starts or ends with a space or newline, as one read from a file: strip it first"
    # Not a strict encode(): its error would carry the secret.
    encoded = secret.encode(errors="replace") if isinstance(secret, str) else secret
    if encoded.startswith(BOM_UTF8):
        return "starts with a byte order mark, as a file saved on Windows: read it as utf-8-sig"
    if isinstance(secret, str) and encoded.decode() != secret:
        return "cannot be encoded as UTF-8"
    if not encoded.strip(b"\0"):
        return "is all NUL, which HMAC takes for the empty one: anybody could sign with it"
    return None
