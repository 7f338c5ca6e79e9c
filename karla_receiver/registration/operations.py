"""What can be done with a shop's webhooks: the calls that each operation takes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from karla_receiver.errors import ConfigurationError
from karla_receiver.receiver import Receiver
from karla_receiver.registration.answers import (
    Answer,
    Outcome,
    error_of,
    read_webhook,
    read_webhooks,
)
from karla_receiver.registration.calls import Call, Resource
from karla_receiver.registration.credentials import Credentials
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
from karla_receiver.registration.retrying import Retries
from karla_receiver.registration.secret import Secret
from karla_receiver.registration.transport import Transport
from karla_receiver.registration.webhook import Webhook

__all__ = ["Operations"]

_logger: Final = logging.getLogger("karla_receiver.registration")


class Operations:
    """The operations on one shop's webhooks. See `KarlaAPI` for what each does."""

    def __init__(self, credentials: Credentials, transport: Transport, retries: Retries) -> None:
        self._resource = Resource.of(credentials.base_url, credentials.shop_slug)
        self._hidden = credentials.hidden
        self._transport = transport
        self._retries = retries

    def webhooks(self, filters: Mapping[str, str | None]) -> Iterator[Webhook]:
        """Yield every webhook that passes Karla's filters, page by page."""
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
        """Return the one webhook that is meant."""
        uuid = uuid_in(url_or_uuid)
        if uuid is not None:
            found = [
                webhook
                for webhook in self.webhooks({"uuid": uuid})
                if uuid_in(webhook.uuid) == uuid
            ]
        else:
            # All are looked at: what form of a URL Karla's own filter compares is not documented.
            checked_url(url_or_uuid)
            found = [
                webhook for webhook in self.webhooks({}) if is_same_url(webhook.url, url_or_uuid)
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
        enabled_events: Iterable[str],
        secret: str | Secret | None,
        description: str | None,
        status: str,
    ) -> Webhook:
        """Create a webhook."""
        hidden = None if secret is None else checked_secret(secret)
        del secret
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
        url: str | None,
        enabled_events: Iterable[str] | None,
        description: str | None,
        status: str | None,
    ) -> Webhook:
        """Change what is not None."""
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
        answer = self._succeed(call)
        try:
            return read_webhook(call, answer)
        except UnexpectedAnswerError:
            # What a change is answered with is not documented: look for what came of it.
            return self.get(uuid)

    def delete(self, url_or_uuid: str) -> None:
        """Delete a webhook."""
        call = self._resource.deletion(self._uuid_of(url_or_uuid))
        outcome, was_uncertain = self._attempt(call)
        is_gone = was_uncertain and isinstance(outcome, Answer) and outcome.status == 404
        if not is_gone:  # by an earlier attempt, whose answer was lost
            self._check(call, outcome)

    def plan(self, url: str, wanted: Receiver | Iterable[str]) -> SyncPlan:
        """Compare what is registered for url with what is wanted."""
        patterns = wanted.enabled_events if isinstance(wanted, Receiver) else wanted
        # Before a call is made: wrong use must not depend on an answer.
        url, events = checked_url(url), checked_events(patterns)
        return make_plan(list(self.webhooks({})), url, events)

    def apply(self, plan: SyncPlan) -> tuple[Webhook, ...]:
        """Carry out a plan."""
        return tuple(self._apply(plan.url, change) for change in plan.changes)

    def _apply(self, url: str, change: Change) -> Webhook:
        if change.webhook is None:
            return self.create(
                url,
                enabled_events=change.enabled_events,
                secret=None,
                description=None,
                status="active",
            )
        return self.update(
            change.webhook.uuid,
            enabled_events=change.enabled_events,
            url=None,
            description=None,
            status=None,
        )

    def _uuid_of(self, url_or_uuid: str) -> str:
        return uuid_in(url_or_uuid) or (self.get(url_or_uuid)).uuid

    def _succeed(self, call: Call) -> Answer:
        outcome, _ = self._attempt(call)
        return self._check(call, outcome)

    def _check(self, call: Call, outcome: Outcome) -> Answer:
        if isinstance(outcome, Answer) and outcome.is_success:
            return outcome
        raise error_of(call, outcome, self._hidden)

    def _attempt(self, call: Call) -> tuple[Outcome, bool]:
        """Make a call until it is worth no further attempt.

        Return what came of it, and whether an earlier attempt may have been carried out.
        """
        attempt, was_uncertain = 1, False
        outcome = self._transport.send(call)
        while (wait := self._retries.wait_after(outcome, call, attempt)) is not None:
            _logger.info(
                "%s %s: %s; attempt %d follows in %.1f s",
                call.method,
                call.url,
                outcome,
                attempt + 1,
                wait,
            )
            self._transport.wait(wait)
            attempt, was_uncertain = attempt + 1, was_uncertain or outcome.may_be_done
            outcome = self._transport.send(call)
        return outcome, was_uncertain
