"""Sending one delivery, and what comes back."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx2

from karla_receiver.checks import is_loopback
from karla_receiver.cli.deliveries import NamedDelivery
from karla_receiver.request import SUCCESS
from karla_receiver.testing.answers import refusals

__all__ = ["Exchange", "deliver", "opened_client"]

_TIMEOUT_SECONDS = 15
_REASON = re.compile(r"[a-z0-9_]{1,40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A delivery that was sent, and the endpoint's answer.

    status: None if no answer came, and then problem says why. reason: as the answer tells it.
    """

    delivery: NamedDelivery
    status: int | None
    reason: str | None = None
    problem: str | None = None
    seconds: float

    @property
    def is_right(self) -> bool:
        """Whether a genuine one was answered 200, or a bad one with a refusal (see `refusals`)."""
        request = self.delivery.request
        if request.reason is None:
            return self.status == SUCCESS.status
        return self.status in refusals(request.method)

    @property
    def told(self) -> str:
        """The answer in a few words, or why there is none."""
        return self.problem or f"{self.status} {self.reason or ''}".strip()


def opened_client(url: str, *, connections: int = 1) -> httpx2.Client:
    """Return a client that delivers to a URL, over so many connections at most."""
    # A proxy of the environment may serve a remote endpoint, but never this machine.
    is_local = is_loopback(urlsplit(url).hostname)
    limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
    return httpx2.Client(trust_env=not is_local, timeout=_TIMEOUT_SECONDS, limits=limits)


def deliver(client: httpx2.Client, url: str, delivery: NamedDelivery) -> Exchange:
    """Send a delivery, and return it with the answer."""
    request = delivery.request
    # Bytes, for a text would have to be ASCII.
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in request.headers]
    status, reason, problem = None, None, None
    started = time.perf_counter()
    try:
        response = client.request(request.method, url, content=request.body, headers=headers)
        status, reason = response.status_code, _reason(response)
    except httpx2.HTTPError as error:
        problem = _problem(error, url)
    seconds = time.perf_counter() - started
    return Exchange(
        delivery=delivery, status=status, reason=reason, problem=problem, seconds=seconds
    )


def _problem(error: httpx2.HTTPError, url: str) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionRefusedError):
            return f"nothing listens at {url}: start `karla-receiver listen`, or check --to"
        cause = cause.__cause__ or cause.__context__
    return f"{type(error).__name__}: {error}"


def _reason(response: httpx2.Response) -> str | None:
    if response.headers.get("content-type") != "application/problem+json":
        return None
    try:
        reason = json.loads(response.content).get("reason")
    except (ValueError, AttributeError):
        return None
    # An endpoint's own words could hold anything, escape sequences for the terminal too.
    return reason if isinstance(reason, str) and _REASON.fullmatch(reason) else None
