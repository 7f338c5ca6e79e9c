"""A receiver with the secrets that are in the settings."""

from __future__ import annotations

from typing import Unpack

from django.conf import settings

from karla_receiver import Receiver
from karla_receiver.adapters._settings import SettingsReceiver
from karla_receiver.adapters.django.databases import manage_connections
from karla_receiver.receiver import ReceiverOptions
from karla_receiver.signature.keys import SECRET_NAMES

__all__ = ["receiver_from_settings"]


def receiver_from_settings(**options: Unpack[ReceiverOptions]) -> Receiver:
    """Make a receiver with KARLA_WEBHOOK_SECRET of the settings, or several KARLA_WEBHOOK_SECRETS.

    The secrets are read when a delivery comes, so that a module with a receiver can be imported
    without them. Django's error reports hide settings of such names.
    options: as for `Receiver`.
    Raises ConfigurationError for an unusable option. `manage.py check` and each delivery find
    unusable secrets: both settings, none of them, or one that no receiver takes.
    """
    receiver = SettingsReceiver(_read, "the settings", **options)
    manage_connections(receiver)
    return receiver


def _read() -> dict[str, object]:
    return {name: getattr(settings, name) for name in SECRET_NAMES if hasattr(settings, name)}
