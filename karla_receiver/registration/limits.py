"""What Karla accepts in a registration, checked before it is sent.

Sources: docs/api/entities/webhook for the lengths; the webhook guide for https. A limit of which
Karla documents nothing is left to Karla. Every function raises ConfigurationError.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from urllib.parse import SplitResult, urlsplit

from karla_receiver.checks import is_host
from karla_receiver.errors import ConfigurationError
from karla_receiver.patterns import group_pattern, parse_pattern
from karla_receiver.registration.secret import Secret
from karla_receiver.registration.webhook import Status
from karla_receiver.vocabulary import EventGroup

__all__ = [
    "checked_events",
    "checked_secret",
    "checked_status",
    "checked_url",
    "is_same_url",
    "uuid_in",
]

_MAX_URL = 65_536
_SECRET_LENGTHS = range(16, 65)
_DEFAULT_PORTS = {"http": 80, "https": 443}


def checked_url(url: str) -> str:
    """Return the URL of an endpoint, if Karla can deliver to it safely."""
    if not isinstance(url, str):
        raise ConfigurationError(f"an endpoint's URL is text, not {type(url).__name__}")
    if len(url) > _MAX_URL:
        raise ConfigurationError(
            f"an endpoint's URL has at most {_MAX_URL} characters, not {len(url)}"
        )
    # What stands before an @ may be a password.
    quoted = ascii(url.rpartition("@")[2][:200])
    # Neither blanks nor controls, which urlsplit() removes without a word.
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ConfigurationError(
            f"{quoted} is no URL: write all but visible ASCII characters as %XX, and a host in"
            " its xn-- form"
        )
    parts = _split(url)
    if parts is None or parts.port == 0 or not is_host(parts.hostname):
        raise ConfigurationError(
            f"{quoted} is no URL of an endpoint: write it like"
            " 'https://shop.example/webhooks/karla'"
        )
    if "@" in parts.netloc:
        raise ConfigurationError(
            "leave user name and password out of the URL, for it is shown in lists and logs:"
            " deliveries are proven by their signature"
        )
    if parts.scheme != "https":
        raise ConfigurationError(f"Karla delivers to https only, and not to {quoted}")
    if "#" in url:
        raise ConfigurationError(f"leave the fragment out of {quoted}: it is never sent")
    return url


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def is_same_url(one: str, other: str) -> bool:
    """Return whether two URLs differ at most in what RFC 3986 (6.2.2, 6.2.3) says is no difference.

    Karla may store the normal form of what it was given.
    """
    return one == other or _normal(one) == _normal(other)


def _normal(url: str) -> object:
    parts = _split(url)
    if parts is None:
        return url
    port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    return (parts.scheme, parts.hostname, port, parts.path or "/", parts.query, parts.username)


def uuid_in(text: str) -> str | None:
    """Return a webhook's uuid as Karla writes it, whatever form it has; None for its URL."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None


def checked_secret(secret: str | Secret) -> Secret:
    """Return a secret that Karla accepts, and a receiver too; the message never has its text."""
    kind = type(secret).__name__
    hidden = secret if isinstance(secret, Secret) else Secret(secret)
    del secret
    problem = _problem_of(hidden.reveal(), kind)
    if problem:
        raise ConfigurationError(f"the secret {problem}")
    return hidden


def _problem_of(secret: object, kind: str) -> str:
    if not isinstance(secret, str):
        return f"is text, not {kind}"
    if len(secret) not in _SECRET_LENGTHS:
        return f"has 16 to 64 characters, not {len(secret)}"
    if not secret.isascii() or not secret.isprintable() or secret.strip() != secret:
        # Legal JSON, but an environment variable or a file seldom keeps such a text as it is.
        return "is of visible ASCII characters, with no blank at either end"
    return ""


def checked_events(patterns: Iterable[str]) -> tuple[str, ...]:
    """Return patterns for enabled_events, each once, in order."""
    if isinstance(patterns, str):
        raise ConfigurationError(f"enabled events are a list, as [{patterns!a}]")
    texts = [_checked_event(pattern) for pattern in patterns]
    if not texts:
        raise ConfigurationError(
            "no enabled event: name at least one pattern, or '*' for all (a receiver needs a"
            " handler)"
        )
    return tuple(dict.fromkeys(texts))


def _checked_event(pattern: str) -> str:
    if pattern in set(EventGroup):
        raise ConfigurationError(
            f"{pattern!a} is an event group, and Karla enables events by ref: the narrowest"
            f" pattern known to take that group is {group_pattern(pattern).text!a}"
        )
    return parse_pattern(pattern).text


def checked_status(status: str) -> Status:
    """Return a status that a webhook can be given."""
    if status not in set(Status):
        raise ConfigurationError(f"the status is 'active' or 'inactive', not {status!a}")
    return Status(status)
