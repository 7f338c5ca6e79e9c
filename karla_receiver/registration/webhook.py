"""What Karla knows about a registered endpoint, as a value."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum, unique
from typing import Annotated, Any, Final, TypeAlias, cast

import msgspec

from karla_receiver.events import decodable
from karla_receiver.registration.secret import Secret

__all__ = ["Status", "Webhook", "to_webhook"]

_Time: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)] | None

_UNITS: Final = (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))


@unique
class Status(StrEnum):
    """Whether Karla sends anything to a webhook."""

    ACTIVE = "active"
    INACTIVE = "inactive"


@decodable
class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """One registered endpoint.

    enabled_events: patterns, as in `Receiver.on`. status: see `Status`; a plain text, in case
    Karla adds one. secret: there when the webhook was just created, and only then reliable.
    Source: docs/api/entities/webhook.
    """

    uuid: str
    url: str
    enabled_events: tuple[str, ...]
    status: str = Status.ACTIVE
    description: str | None = None
    secret: Secret | None = None
    shop_slug: str | None = None
    created_at: _Time = None
    updated_at: _Time = None

    @property
    def age(self) -> str:
        """How long it has been registered, in words, as in `3 days old`."""
        if self.created_at is None:
            return "of unknown age"
        seconds = int((datetime.now(UTC) - self.created_at).total_seconds())
        for name, length in _UNITS:
            if seconds >= 2 * length:
                return f"{seconds // length} {name}s old"
        return "new"


def to_webhook(raw: object) -> Webhook:
    """Read a webhook from decoded JSON; an optional field that does not fit takes its default.

    Raises msgspec.ValidationError if it has no uuid, url or enabled_events.
    """
    if not isinstance(raw, dict):
        raise msgspec.ValidationError("not an object")
    given = cast("dict[str, object]", raw)
    # The second name is that of early 2025.
    fields = {**given, "shop_slug": given.get("shop_slug") or given.get("merchant_slug")}
    fitting = {
        field.name: fields[field.name]
        for field in msgspec.structs.fields(Webhook)
        if field.name in fields and (field.required or _fits(fields[field.name], field.type))
    }
    return msgspec.convert(fitting, Webhook, dec_hook=_to_secret)


def _fits(value: object, annotation: Any) -> bool:
    try:
        msgspec.convert(value, annotation, dec_hook=_to_secret)
    except msgspec.ValidationError:
        return False
    return True


def _to_secret(_: type, text: object) -> Secret:
    if not isinstance(text, str) or not text:
        raise msgspec.ValidationError("a secret is text")
    return Secret(text)
