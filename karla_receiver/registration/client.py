"""The client of Karla's webhook API."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from sys import float_info
from typing import Final, TypedDict, Unpack

from karla_receiver.checks import checked_seconds
from karla_receiver.errors import ConfigurationError
from karla_receiver.receiver import Receiver
from karla_receiver.registration.calls import Call, Resource
from karla_receiver.registration.credentials import KARLA_API, Credentials, credentials_in
from karla_receiver.registration.errors import (
    AmbiguousURLError,
    NotRegisteredError,
    UnexpectedAnswerError,
)
from karla_receiver.registration.limits import (
    checked_events,
    checked_secret,
    checked_status,
    checked_url,
    is_same_url,
    uuid_in,
)
from karla_receiver.registration.planning import Change, SyncPlan, make_plan
from karla_receiver.registration.responses import (
    APIResponse,
    CallResult,
    error_of,
    read_webhook,
    read_webhooks,
)
from karla_receiver.registration.retrying import LONGEST_WAIT, Retries
from karla_receiver.registration.secret import Secret
from karla_receiver.registration.transport import Transport
from karla_receiver.registration.webhook import Status, Webhook

__all__ = ["APIOptions", "KarlaAPI"]

_logger: Final = logging.getLogger("karla_receiver.registration")
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
        self._retries = retries
        self._resource = Resource.of(credentials.base_url, credentials.shop_slug)
        self._hidden = credentials.hidden

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
        filters = {"uuid": uuid, "url": url, "status": status}
        number, seen = 0, set[str]()
        while True:
            number += 1
            call = self._resource.page(number, filters)
            page = read_webhooks(call, self._succeed(call))
            # Until a page brings nothing new: Karla gives no total, and one that gave fewer at
            # once than it was asked for, or ignored the number, would not be noticed otherwise.
            new = [webhook for webhook in page if webhook.uuid not in seen]
            if not new:
                return
            for webhook in new:
                seen.add(webhook.uuid)
                yield webhook

    def get(self, url_or_uuid: str) -> Webhook:
        """Return one webhook.

        Raises NotRegisteredError if there is none, AmbiguousURLError if several have the URL.
        """
        uuid = uuid_in(url_or_uuid)
        if uuid is not None:
            found = [
                webhook for webhook in self.webhooks(uuid=uuid) if uuid_in(webhook.uuid) == uuid
            ]
        else:
            # All are looked at: what form of a URL Karla's own filter compares is not documented.
            checked_url(url_or_uuid)
            found = [
                webhook for webhook in self.webhooks() if is_same_url(webhook.url, url_or_uuid)
            ]
        if len(found) == 1:
            return found[0]
        call = self._resource.page(1, {})
        if found:
            each = ", ".join(f"{one.uuid} ({one.status}, {one.age})" for one in found)
            problem = f"{len(found)} webhooks have the URL {url_or_uuid}: name one of {each}"
            raise AmbiguousURLError(problem, call.method, call.url)
        raise NotRegisteredError(f"no webhook is registered as {url_or_uuid}", "GET", call.url)

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
        del secret  # before it is checked: an error report may show every local variable
        if hidden is not None:
            checked_secret(hidden)
        fields = {
            "url": checked_url(url),
            "enabled_events": checked_events(enabled_events),
            "description": description,
            "status": checked_status(status),
        }
        call = self._resource.creation(fields, hidden)
        return read_webhook(call, self._succeed(call))

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
        fields = {
            "url": None if url is None else checked_url(url),
            "enabled_events": None if enabled_events is None else checked_events(enabled_events),
            "description": description,
            "status": None if status is None else checked_status(status),
        }
        if all(value is None for value in fields.values()):
            raise ConfigurationError("nothing to change: name at least one field")
        uuid = self._uuid_of(url_or_uuid)
        call = self._resource.change(uuid, fields)
        response = self._succeed(call)
        try:
            return read_webhook(call, response)
        except UnexpectedAnswerError:
            # What a change is answered with is not documented: look for what came of it.
            return self.get(uuid)

    def delete(self, url_or_uuid: str) -> None:
        """Delete a webhook. Raises also what `get` raises."""
        call = self._resource.deletion(self._uuid_of(url_or_uuid))
        result, was_uncertain = self._attempt(call)
        is_gone = was_uncertain and isinstance(result, APIResponse) and result.status == 404
        if not is_gone:  # by an earlier attempt, whose answer was lost
            self._check(call, result)

    def plan(self, url: str, wanted: Receiver | Iterable[str]) -> SyncPlan:
        """Compare what is registered for a URL with what is wanted there. Changes nothing.

        wanted: a receiver, for what its handlers need; or patterns.
        """
        patterns = wanted.enabled_events if isinstance(wanted, Receiver) else wanted
        # Before a call is made: wrong use must not depend on an answer.
        url, events = checked_url(url), checked_events(patterns)
        return make_plan(list(self.webhooks()), url, events)

    def apply(self, plan: SyncPlan) -> tuple[Webhook, ...]:
        """Carry out a plan, and return the webhooks that it changed.

        One that was created has its secret. If an error ends it, plan again: what was done
        before is not in the new plan.
        """
        return tuple(self._apply(plan.url, change) for change in plan.changes)

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def __enter__(self) -> KarlaAPI:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _apply(self, url: str, change: Change) -> Webhook:
        if change.webhook is None:
            return self.create(url, enabled_events=change.enabled_events)
        return self.update(change.webhook.uuid, enabled_events=change.enabled_events)

    def _uuid_of(self, url_or_uuid: str) -> str:
        return uuid_in(url_or_uuid) or self.get(url_or_uuid).uuid

    def _succeed(self, call: Call) -> APIResponse:
        result, _ = self._attempt(call)
        return self._check(call, result)

    def _check(self, call: Call, result: CallResult) -> APIResponse:
        if isinstance(result, APIResponse) and result.is_success:
            return result
        raise error_of(call, result, self._hidden)

    def _attempt(self, call: Call) -> tuple[CallResult, bool]:
        """Make a call until it is worth no further attempt.

        Return what came of it, and whether an earlier attempt may have been carried out.
        """
        attempt, was_uncertain = 1, False
        result = self._transport.send(call)
        while (wait := self._retries.wait_after(result, call, attempt)) is not None:
            _logger.info(
                "%s %s: %s; attempt %d follows in %.1f s",
                call.method,
                call.url,
                result,
                attempt + 1,
                wait,
            )
            self._transport.wait(wait)
            attempt, was_uncertain = attempt + 1, was_uncertain or result.may_be_done
            result = self._transport.send(call)
        return result, was_uncertain


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
