"""The client of Karla's webhook API."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from sys import float_info
from typing import TypedDict, Unpack

from karla_receiver.checks import checked_seconds
from karla_receiver.errors import ConfigurationError
from karla_receiver.receiver import Receiver
from karla_receiver.registration.credentials import KARLA_API, Credentials, credentials_in
from karla_receiver.registration.operations import Operations
from karla_receiver.registration.planning import SyncPlan
from karla_receiver.registration.retrying import LONGEST_WAIT, Retries
from karla_receiver.registration.secret import Secret
from karla_receiver.registration.transport import Transport
from karla_receiver.registration.webhook import Status, Webhook

__all__ = ["APIOptions", "KarlaAPI"]

_EVERYTHING = ("*",)


class APIOptions(TypedDict, total=False):
    """The options of a client.

    timeout: seconds to wait for a connection, and then for each part of an answer; at most a day.
    retries: of what is safe to repeat: reading, changing, deleting; of creating only what Karla
    certainly did not do. See `Retries`.
    """

    timeout: float
    retries: Retries


class KarlaAPI:
    """Manages the webhooks of one shop.

    shop_slug: as in the portal's address. api_key: from the portal. username: the name that the
    key was given there; the shop's slug if left out. base_url: https, or http to this machine.
    options: see `APIOptions`.
    Raises ConfigurationError for what cannot work; every operation raises `RegistrationError`
    if Karla does not do what is asked, and ConfigurationError for what Karla would refuse.

    It keeps connections: close it, or use it in a `with` statement. Threads may share it.
    """

    def __init__(
        self,
        shop_slug: str,
        api_key: str | Secret,
        *,
        username: str | None = None,
        base_url: str = KARLA_API,
        **options: Unpack[APIOptions],
    ) -> None:
        hidden = _hidden(api_key)
        del api_key
        credentials = _credentials(shop_slug, hidden, username, base_url)
        timeout, retries = _checked(options)
        self._transport = Transport(credentials, timeout)
        self._operations = Operations(credentials, self._transport, retries)

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str] = os.environ, **options: Unpack[APIOptions]
    ) -> KarlaAPI:
        """Make a client from the environment.

        KARLA_SHOP_SLUG and KARLA_API_KEY must be set; KARLA_API_USERNAME and KARLA_API_URL may.
        """
        try:
            found = credentials_in(environ)
        finally:
            del environ
        return cls(
            found.shop_slug,
            found.api_key,
            username=found.username,
            base_url=found.base_url,
            **options,
        )

    def webhooks(
        self, *, uuid: str | None = None, url: str | None = None, status: str | None = None
    ) -> Iterator[Webhook]:
        """Iterate over the shop's webhooks, or those that pass Karla's filters.

        Pages are read as they are needed. The filters are Karla's own; how it compares a URL is
        not documented, so to find one webhook use `get`.
        """
        return self._operations.webhooks({"uuid": uuid, "url": url, "status": status})

    def get(self, url_or_uuid: str) -> Webhook:
        """Return one webhook.

        Raises NotRegisteredError if there is none, AmbiguousURLError if several have the URL.
        """
        return self._operations.get(url_or_uuid)

    def create(
        self,
        url: str,
        *,
        enabled_events: Iterable[str] = _EVERYTHING,
        secret: str | Secret | None = None,
        description: str | None = None,
        status: str = Status.ACTIVE,
    ) -> Webhook:
        """Register an endpoint, and return it with its secret, which Karla gives only now.

        url: https, at most 65536 characters. enabled_events: patterns, as in `Receiver.on`.
        secret: 16 to 64 characters; Karla makes one if left out. status: active or inactive.
        Karla does not document what it does for a URL that is registered: if the webhook that
        comes back has no secret, it was there before.
        A call that may have been carried out is not repeated: see `UnavailableError.may_be_done`.
        """
        hidden = None if secret is None else _hidden(secret)
        del secret
        return self._operations.create(
            url,
            enabled_events=enabled_events,
            secret=hidden,
            description=description,
            status=status,
        )

    def update(
        self,
        url_or_uuid: str,
        *,
        url: str | None = None,
        enabled_events: Iterable[str] | None = None,
        description: str | None = None,
        status: str | None = None,
    ) -> Webhook:
        """Change a webhook, and return it as it is then. What is None stays as it is.

        A secret cannot be changed: create a second webhook for the URL, and delete the first.
        Raises also what `get` raises.
        """
        return self._operations.update(
            url_or_uuid,
            url=url,
            enabled_events=enabled_events,
            description=description,
            status=status,
        )

    def delete(self, url_or_uuid: str) -> None:
        """Delete a webhook. Raises also what `get` raises."""
        self._operations.delete(url_or_uuid)

    def plan(self, url: str, wanted: Receiver | Iterable[str]) -> SyncPlan:
        """Compare what is registered for a URL with what is wanted there. Changes nothing.

        wanted: a receiver, for what its handlers need; or patterns.
        """
        return self._operations.plan(url, wanted)

    def apply(self, plan: SyncPlan) -> tuple[Webhook, ...]:
        """Carry out a plan, and return the webhooks that it changed.

        One that was created has its secret. If an error ends it, plan again: what was done
        before is not in the new plan.
        """
        return self._operations.apply(plan)

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def __enter__(self) -> KarlaAPI:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _hidden(text: str | Secret) -> Secret:
    return text if isinstance(text, Secret) else Secret(text)


def _credentials(
    shop_slug: str, api_key: Secret, username: str | None, base_url: str
) -> Credentials:
    return Credentials(
        shop_slug=shop_slug,
        api_key=api_key,
        username=shop_slug if username is None else username,
        base_url=base_url,
    )


def _checked(options: APIOptions) -> tuple[float, Retries]:
    for name in options:
        if name not in APIOptions.__annotations__:
            known = " and ".join(sorted(APIOptions.__annotations__))
            raise ConfigurationError(f"{name!a} is no option of a client: there are {known}")
    timeout = checked_seconds(
        "timeout",
        options.get("timeout", 10.0),
        least=float_info.min,
        most=LONGEST_WAIT,
        limits="more than 0 and at most a day",
    )
    retries: object = options.get("retries", Retries())
    if not isinstance(retries, Retries):
        raise ConfigurationError(f"retries is a Retries, not {type(retries).__name__}")
    return timeout, retries
