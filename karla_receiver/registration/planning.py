"""What to change so that Karla sends an endpoint exactly what is wanted there: a value.

Nothing is changed here; `KarlaAPI.apply` does that.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from karla_receiver.registration.limits import checked_events, checked_url, is_same_url
from karla_receiver.registration.webhook import Webhook

__all__ = ["Change", "SyncPlan", "make_plan"]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One webhook to be created, or to be given other enabled events.

    webhook: as it is registered; None if it is to be created.
    enabled_events: what is to be registered.
    """

    webhook: Webhook | None
    enabled_events: tuple[str, ...]

    @property
    def added(self) -> tuple[str, ...]:
        """The patterns that are not registered yet."""
        return tuple(each for each in self.enabled_events if each not in self._registered)

    @property
    def removed(self) -> tuple[str, ...]:
        """The patterns that are registered, and are not wanted."""
        return tuple(each for each in self._registered if each not in self.enabled_events)

    @property
    def _registered(self) -> tuple[str, ...]:
        return () if self.webhook is None else self.webhook.enabled_events


class SyncPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The difference between what is registered for a URL and what is wanted there.

    unchanged: webhooks of that URL that are as they should be. A URL may have several, as while
    one secret replaces another; all of them are kept equal.
    """

    url: str
    changes: tuple[Change, ...] = ()
    unchanged: tuple[Webhook, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.changes


def make_plan(registered: Iterable[Webhook], url: str, wanted: Iterable[str]) -> SyncPlan:
    """Compare all of a shop's webhooks with the patterns that are wanted at url.

    The order of patterns and repeated ones make no difference. Status and description are left
    as they are: someone may have switched a webhook off on purpose.
    Raises ConfigurationError for an unusable URL, a pattern that never matches, or no pattern.
    """
    events = checked_events(wanted)
    checked_url(url)
    here = [webhook for webhook in registered if is_same_url(webhook.url, url)]
    if not here:
        return SyncPlan(url=url, changes=(Change(webhook=None, enabled_events=events),))
    same = [webhook for webhook in here if set(webhook.enabled_events) == set(events)]
    return SyncPlan(
        url=url,
        changes=tuple(
            Change(webhook=webhook, enabled_events=events)
            for webhook in here
            if webhook not in same
        ),
        unchanged=tuple(same),
    )
