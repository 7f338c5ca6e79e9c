"""One event on its way to the endpoints that want it: what is sent to whom, and what came of it."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, runtime_checkable
from urllib.parse import urlsplit

import httpx2

from karla_receiver.checks import checked_body, is_loopback
from karla_receiver.decoding import parse_event
from karla_receiver.errors import ConfigurationError, PayloadError
from karla_receiver.patterns import Address, addresses_of, parse_pattern
from karla_receiver.signature import HEADER
from karla_receiver.testing.fake_api import RegisteredWebhook

__all__ = [
    "Attempt",
    "HasBody",
    "Sendable",
    "Sent",
    "body_of",
    "is_local",
    "is_wanted",
    "opened_client",
    "post",
]

_TIMEOUT_SECONDS = 30
_ACKNOWLEDGED = 200  # the one status that Karla's guide asks for


@runtime_checkable
class HasBody(Protocol):
    """Something that has the bytes of an event, as a delivery."""

    @property
    def body(self) -> bytes:
        """The bytes."""
        ...


# The bytes of an event, something that has them, or the event as an object for JSON.
Sendable: TypeAlias = bytes | HasBody | Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One request to an endpoint. An attempt of a handler is a `karla_receiver.Attempt`.

    timestamp: that was signed, in unix seconds. status: of the answer; None, with the problem,
    if none came.
    """

    timestamp: int
    signature: str = field(repr=False)
    status: int | None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One delivery to one webhook, with every attempt that was made."""

    webhook: RegisteredWebhook
    body: bytes = field(repr=False)
    attempts: list[Attempt] = field(default_factory=list[Attempt])

    @property
    def is_acknowledged(self) -> bool:
        """Whether it was answered 200 in the end."""
        return bool(self.attempts) and self.attempts[-1].status == _ACKNOWLEDGED


def is_wanted(webhook: RegisteredWebhook, body: bytes) -> bool:
    """Return whether Karla delivers an event to a webhook: by path part, of active ones only."""
    return webhook.status == "active" and any(
        _covers(pattern, address)
        for address in _addresses_in(body)
        for pattern in webhook.enabled_events
    )


def _addresses_in(body: bytes) -> tuple[Address, ...]:
    try:
        return addresses_of(parse_event(body))
    except PayloadError:
        return ((),)  # under no pattern but "*"


def body_of(event: Sendable) -> bytes:
    """Return the bytes of an event. Raises TypeError for what has none."""
    if isinstance(event, Mapping):
        return json.dumps(event, separators=(",", ":")).encode()
    return checked_body(event.body if isinstance(event, HasBody) else event)


def _covers(pattern: str, address: Address) -> bool:
    try:
        return parse_pattern(pattern).covers(address)
    except ConfigurationError:
        return False  # registered by someone who did not ask us whether it can match


def is_local(url: str) -> bool:
    """Return whether a URL is on this machine."""
    return is_loopback(urlsplit(url).hostname)


def opened_client(places: list[str]) -> httpx2.Client:
    """Return a client for these endpoints."""
    # Over http there is nothing to verify, and loading every authority takes 50 ms.
    is_https = any(urlsplit(place).scheme == "https" for place in places)
    verify = is_https or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx2.Client(trust_env=False, timeout=_TIMEOUT_SECONDS, verify=verify)


def post(client: httpx2.Client, url: str, body: bytes, signature: str) -> tuple[int | None, str]:
    """Send one request; return the status of the answer, or None and the problem."""
    headers = {"Content-Type": "application/json", HEADER: signature}
    try:
        return client.post(url, content=body, headers=headers).status_code, ""
    except httpx2.TransportError as error:
        return None, f"{type(error).__name__}: {error}"
