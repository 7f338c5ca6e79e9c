"""A receiver with the secrets that are in the settings."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Unpack, cast

from django.conf import settings

from karla_receiver import ConfigurationError, Receiver, Request, Response
from karla_receiver.adapters.django.databases import manage_connections
from karla_receiver.delivery import Delivery
from karla_receiver.outcomes import Handler
from karla_receiver.receiver import ReceiverOptions
from karla_receiver.signature import Verified

__all__ = ["SettingsReceiver", "receiver_from_settings"]


def receiver_from_settings(**options: Unpack[ReceiverOptions]) -> Receiver:
    """Make a receiver with KARLA_WEBHOOK_SECRET of the settings, or a list KARLA_WEBHOOK_SECRETS.

    The secrets are read when a delivery comes, so that a module with a receiver can be imported
    without them. Django's error reports hide settings of such names.
    options: as for `Receiver`.
    Raises ConfigurationError for an unusable option. `manage.py check` and each delivery find
    unusable secrets: both settings, none of them, or one that no receiver takes.
    """
    receiver = SettingsReceiver(**options)
    manage_connections(receiver)
    return receiver


class SettingsReceiver(Receiver):
    """A receiver whose secrets are those that are in the settings when a delivery comes."""

    def __init__(self, **options: Unpack[ReceiverOptions]) -> None:
        # A secret that nobody knows: nothing is verified before the settings have been read.
        super().__init__(secrets.token_urlsafe(32), **options)
        self._in_use: tuple[str | bytes, ...] | None = None

    def receive(self, request: Request, *, view: Handler | None = None) -> Response:
        """Same as `Receiver.receive`. Raises ConfigurationError for unusable settings."""
        self.read_settings()
        return super().receive(request, view=view)

    async def receive_async(self, request: Request, *, view: Handler | None = None) -> Response:
        """Same as `receive`, on an asyncio event loop."""
        self.read_settings()
        return await super().receive_async(request, view=view)

    def verify_kept(self, delivery: Delivery) -> Verified:
        """Same as `Receiver.verify_kept`. Raises ConfigurationError for unusable settings."""
        self.read_settings()
        return super().verify_kept(delivery)

    def read_settings(self) -> None:
        """Use the secrets that are in the settings now.

        Raises ConfigurationError if both settings are there, or none, or what is there is unusable.
        """
        found = _secrets()
        try:
            if found != self._in_use:
                self.replace_secrets(*found)
                self._in_use = found
        finally:
            del found  # so that no error report with local variables shows them


def _secrets() -> tuple[str | bytes, ...]:
    one = getattr(settings, "KARLA_WEBHOOK_SECRET", None)
    several = getattr(settings, "KARLA_WEBHOOK_SECRETS", None)
    try:
        if one is None and several is None:
            _refuse_none()
        if (one is None) == (several is None) or not isinstance(several, list | tuple | None):
            raise ConfigurationError(
                "the settings need KARLA_WEBHOOK_SECRET, one secret, or KARLA_WEBHOOK_SECRETS, a"
                " list of several, and not both"
            )
        return tuple(cast("Iterable[str]", [one] if several is None else several))
    finally:
        del one, several


def _refuse_none() -> None:
    for name in ("KARLA_WEBHOOK_SECRET", "KARLA_WEBHOOK_SECRETS"):
        if hasattr(settings, name):
            raise ConfigurationError(
                f"{name} in the settings is None: is its environment variable set?"
            )
