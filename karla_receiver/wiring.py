"""Checks that adapters make once, when they are wired, so that a wrong one fails at once."""

from __future__ import annotations

from karla_receiver.errors import ConfigurationError
from karla_receiver.handlers.routing import check_callable
from karla_receiver.receiver import Receiver

__all__ = ["check_app", "check_receiver"]


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
