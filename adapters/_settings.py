"""A receiver whose secrets are in an application's settings, which adapters know how to read."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Unpack, cast

from karla_receiver.errors import ConfigurationError, Verified
from karla_receiver.outcomes import Handler
from karla_receiver.receiver import Receiver, ReceiverOptions
from karla_receiver.request import Request, Response
from karla_receiver.signature import SignatureHeader, Verifier
from karla_receiver.signature.keys import SECRET_NAMES

__all__ = ["SettingsReceiver"]


class SettingsReceiver(Receiver):
    """A receiver whose secrets are those that are in the settings when a delivery comes.

    So an application can be made, and its handlers registered with Karla, before there is a secret.
    read: returns the settings. place: what messages call them.
    """

    def __init__(
        self,
        read: Callable[[], Mapping[str, object]],
        place: str,
        **options: Unpack[ReceiverOptions],
    ) -> None:
        self._read = read
        self._place = place
        # A secret that nobody knows: nothing is verified before the settings have been read.
        super().__init__(secrets.token_urlsafe(32), **options)

    def _make_verifier(
        self, *secrets: str | bytes, tolerance: float, clock: Callable[[], float] | None
    ) -> Verifier:
        self._settings = _SettingsVerifier(*secrets, tolerance=tolerance, clock=clock)
        self._settings.read = self._read
        self._settings.place = self._place
        return self._settings

    def receive(self, request: Request, *, view: Handler | None = None) -> Response:
        """Same as `Receiver.receive`. Raises ConfigurationError for unusable settings."""
        self.read_settings()
        return super().receive(request, view=view)

    async def receive_async(self, request: Request, *, view: Handler | None = None) -> Response:
        """Same as `receive`, on an asyncio event loop."""
        self.read_settings()
        return await super().receive_async(request, view=view)

    def read_settings(self) -> None:
        """Use the secrets that are in the settings now.

        Raises ConfigurationError if both settings are there, or none, or what is there is unusable.
        """
        self._settings.read_settings()


class _SettingsVerifier(Verifier):
    """A verifier that reads the settings for a kept delivery. For a request the receiver does."""

    __slots__ = ("_in_use", "place", "read")

    read: Callable[[], Mapping[str, object]]
    place: str

    def verify_parsed(
        self, body: bytes, header: SignatureHeader, *, now: float | None = None
    ) -> Verified:
        """Same as `Verifier.verify_parsed`. Raises ConfigurationError for unusable settings."""
        if now is not None:  # a worker verifies once more, without a request
            self.read_settings()
        return super().verify_parsed(body, header, now=now)

    def read_settings(self) -> None:
        """See `SettingsReceiver.read_settings`."""
        found = _secrets_in(self.read(), self.place)
        try:
            if found != getattr(self, "_in_use", None):
                self.replace_secrets(*found)
                self._in_use = found
        finally:
            del found  # so that no error report with local variables shows them


def _secrets_in(settings: Mapping[str, object], place: str) -> tuple[str | bytes, ...]:
    one, several = (settings.get(name) for name in SECRET_NAMES)
    try:
        if one is None and several is None:
            _refuse_none(settings, place)
        if isinstance(several, str):
            several = several.split(",")  # as it is in an environment variable
        if (one is None) == (several is None) or not isinstance(several, list | tuple | None):
            raise ConfigurationError(
                f"{place} must have KARLA_WEBHOOK_SECRET, one secret, or KARLA_WEBHOOK_SECRETS,"
                " several in a list or separated by commas, and not both"
            )
        return tuple(cast("Iterable[str]", [one] if several is None else several))
    finally:
        del one, several, settings


def _refuse_none(settings: Mapping[str, object], place: str) -> None:
    missing = [name for name in SECRET_NAMES if name in settings]
    del settings
    if missing:
        raise ConfigurationError(
            f"{missing[0]} in {place} is None: is its environment variable set?"
        )
