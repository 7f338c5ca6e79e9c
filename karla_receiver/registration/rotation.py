"""Which step comes next where one secret replaces another: a value.

Karla cannot change a secret, so a URL has two webhooks for a while. Nothing is changed here.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum, unique

import msgspec

from karla_receiver.errors import ConfigurationError
from karla_receiver.registration.limits import checked_url, is_same_url
from karla_receiver.registration.webhook import Status, Webhook

__all__ = ["Rotation", "Step", "next_step"]


@unique
class Step(StrEnum):
    """What is to be done next."""

    CREATE = "create"  # a second webhook, switched off
    ACTIVATE = "activate"  # it, once its secret is deployed
    DELETE = "delete"  # the old one, once the new one is active


class Rotation(msgspec.Struct, frozen=True, kw_only=True):
    """The next step. old: the webhook to be replaced; new: its successor, if there is one."""

    step: Step
    old: Webhook
    new: Webhook | None = None


def next_step(registered: Iterable[Webhook], url: str) -> Rotation:
    """Find the next step of a rotation in what is registered for url.

    Raises ConfigurationError for an unusable URL, and wherever it is not certain which webhook
    is the old one: there is none, there are more than two, their ages are not known, or they
    are no copies of each other.
    """
    checked_url(url)
    here = [webhook for webhook in registered if is_same_url(webhook.url, url)]
    if not here:
        raise ConfigurationError(f"no webhook is registered for {url}")
    if len(here) == 1:
        return Rotation(step=Step.CREATE, old=here[0])
    told = ", ".join(f"{each.uuid} ({each.status}, {each.age})" for each in here)
    if len(here) > 2:
        raise _by_hand(f"{len(here)} webhooks have this URL: {told}")
    first, second = here
    if set(first.enabled_events) != set(second.enabled_events):
        raise _by_hand(f"the two webhooks of this URL have different events: {told}")
    if (
        first.created_at is None
        or second.created_at is None
        or first.created_at == second.created_at
    ):
        raise _by_hand(f"which of the two webhooks of this URL is older is not known: {told}")
    old, new = (first, second) if first.created_at < second.created_at else (second, first)
    step = Step.DELETE if new.status == Status.ACTIVE else Step.ACTIVATE
    return Rotation(step=step, old=old, new=new)


def _by_hand(problem: str) -> ConfigurationError:
    return ConfigurationError(f"{problem}. Update or delete by uuid until it is clear which is old")
