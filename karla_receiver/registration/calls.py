"""The calls of Karla's webhook API as values: what to send. Sends nothing.

Source: docs/api/entities/webhook, and Karla's OpenAPI models.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

import msgspec

from karla_receiver.registration.secret import Secret

__all__ = ["PAGE_SIZE", "Call", "Resource"]

PAGE_SIZE: Final = 100  # the most that Karla gives at once


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request.

    query: in order. content: the JSON body, hidden since it can hold a webhook's secret.
    is_repeatable: whether doing it twice comes to the same as doing it once.
    secret: that of the webhook, if it is sent: Karla's answer may quote it.
    """

    method: str
    url: str
    query: tuple[tuple[str, str], ...] = ()
    content: Secret | None = None
    is_repeatable: bool = True
    secret: Secret | None = None


class Resource(msgspec.Struct, frozen=True):
    """The webhooks of one shop: where the calls go."""

    url: str

    @classmethod
    def of(cls, base_url: str, shop_slug: str) -> Resource:
        """Return where the webhooks of a shop are."""
        return cls(f"{base_url.rstrip('/')}/v1/shops/{quote(shop_slug, safe='')}/webhooks")

    def page(self, number: int, filters: Mapping[str, str | None]) -> Call:
        """Return the call for one page, from 1, of the webhooks that pass the filters."""
        wanted = tuple((name, value) for name, value in filters.items() if value is not None)
        query = (*wanted, ("page", str(number)), ("per_page", str(PAGE_SIZE)))
        return Call(method="GET", url=self.url, query=query)

    def creation(self, fields: Mapping[str, object], secret: Secret | None) -> Call:
        """Return the call that creates a webhook; Karla makes a secret if none is given."""
        return Call(
            method="POST",
            url=self.url,
            content=_json(fields, secret),
            is_repeatable=False,  # it would create another one, whose secret nobody has seen
            secret=secret,
        )

    def change(self, uuid: str, fields: Mapping[str, object]) -> Call:
        """Return the call that changes some fields of a webhook."""
        return Call(method="PATCH", url=self._of(uuid), content=_json(fields, None))

    def deletion(self, uuid: str) -> Call:
        """Return the call that deletes a webhook."""
        return Call(method="DELETE", url=self._of(uuid))

    def _of(self, uuid: str) -> str:
        return f"{self.url}/{quote(uuid, safe='')}"


def _json(fields: Mapping[str, object], secret: Secret | None) -> Secret:
    given = {name: value for name, value in fields.items() if value is not None}
    if secret is None:
        return Secret(msgspec.json.encode(given).decode())
    return Secret(msgspec.json.encode({**given, "secret": secret.reveal()}).decode())
