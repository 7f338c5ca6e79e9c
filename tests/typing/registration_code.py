"""Code as a user of the registration client writes it, for type checkers only."""

from __future__ import annotations

from typing import assert_type

from karla_receiver import Receiver
from karla_receiver.registration import (
    KarlaAPI,
    Retries,
    Secret,
    SyncPlan,
    UnavailableError,
    Webhook,
)

URL = "https://shop.example/webhooks/karla"


def deploy(receiver: Receiver) -> str | None:
    with KarlaAPI.from_env(timeout=5, retries=Retries(attempts=2)) as api:
        plan = api.plan(URL, receiver)
        assert_type(plan, SyncPlan)
        for webhook in api.apply(plan):
            assert_type(webhook, Webhook)
            assert_type(webhook.secret, Secret | None)
            if webhook.secret is not None:
                return webhook.secret.reveal()
    return None


def switch_off(shop_slug: str, api_key: str) -> float | None:
    with KarlaAPI(shop_slug, api_key) as api:
        try:
            for webhook in api.webhooks(status="active"):
                changed = api.update(webhook.uuid, status="inactive")
                assert_type(changed.enabled_events, tuple[str, ...])
        except UnavailableError as error:
            return error.retry_after
        api.delete(URL)
    return None
