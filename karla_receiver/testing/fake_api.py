"""Karla's webhook API as a table of responses: its state, validation, paging and error bodies.

Written from Karla's documentation and OpenAPI models (docs/api/entities/webhook), apart from the
client, so that one is a check on the other. Where these say nothing, this one does what the
docstrings say.
"""

from __future__ import annotations

import re
import secrets
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum, unique
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar, cast
from urllib.parse import urlsplit

import msgspec

from karla_receiver.events import decodable

__all__ = ["Duplicates", "FakeAPI", "FakeResponse", "RegisteredWebhook"]

_T = TypeVar("_T")

_ADDRESS = re.compile(r"/v1/shops/(?P<slug>[^/]+)/webhooks(?:/(?P<uuid>[^/]+))?")

_Status: TypeAlias = Literal["active", "inactive"]
_URL: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=65_536)]
_Secret: TypeAlias = Annotated[str, msgspec.Meta(min_length=16, max_length=64)]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredWebhook:
    """What Karla keeps of one webhook; its secret is not shown."""

    uuid: str
    url: str
    enabled_events: tuple[str, ...]
    secret: str = field(repr=False)
    description: str | None = None
    status: str = "active"
    created_at: str
    updated_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeResponse:
    """A response of the API; body is what its JSON says."""

    status: int
    body: object = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)


@unique
class Duplicates(StrEnum):
    """What happens to a URL that is registered and comes again: Karla does not document it."""

    ADD = "add"
    RETURN_EXISTING = "return_existing"
    REFUSE = "refuse"


@decodable
class _Query(msgspec.Struct, frozen=True):
    page: Annotated[int, msgspec.Meta(gt=0)] = 1
    per_page: Annotated[int, msgspec.Meta(ge=1, le=100)] = 30
    uuid: str | None = None
    status: _Status | None = None
    url: _URL | None = None


@decodable
class _Creation(msgspec.Struct, frozen=True):
    url: _URL
    enabled_events: tuple[str, ...] = ("*",)
    secret: _Secret | None = None
    description: str | None = None
    status: _Status = "active"

    def __repr__(self) -> str:
        return f"<_Creation {self.url!a}>"


@decodable
class _Change(msgspec.Struct, frozen=True):
    # No secret: it is Karla's to manage, and one that is sent is ignored.
    url: _URL | None = None
    enabled_events: tuple[str, ...] | None = None
    description: str | None = None
    status: _Status | None = None


class FakeAPI:
    """The webhooks of one shop, and what Karla answers to requests about them.

    username, api_key: what requests must come with. clock: returns unix seconds.
    page_limit: the most that a page holds, whatever is asked for.
    """

    def __init__(
        self,
        *,
        shop_slug: str,
        username: str,
        api_key: str,
        clock: Callable[[], float],
        duplicates: Duplicates = Duplicates.ADD,
        page_limit: int = 100,
    ) -> None:
        self.shop_slug: Final = shop_slug
        self.duplicates: Duplicates = duplicates
        self.page_limit: int = page_limit
        self._authorization = "Basic " + b64encode(f"{username}:{api_key}".encode()).decode()
        self._clock = clock
        self._webhooks: dict[str, RegisteredWebhook] = {}

    @property
    def webhooks(self) -> list[RegisteredWebhook]:
        """What is registered, in the order of registration."""
        return list(self._webhooks.values())

    def register(
        self,
        url: str,
        *,
        enabled_events: Iterable[str] = ("*",),
        secret: str | None = None,
        description: str | None = None,
        status: str = "active",
    ) -> RegisteredWebhook:
        """Add a webhook, without a check. The secret is a fresh one if left out."""
        now = self._now()
        webhook = RegisteredWebhook(
            uuid=str(uuid.uuid4()),
            url=url,
            enabled_events=tuple(enabled_events),
            secret=secret or secrets.token_hex(16),
            description=description,
            status=status,
            created_at=now,
            updated_at=now,
        )
        self._webhooks[webhook.uuid] = webhook
        return webhook

    def unregister(self, uuid: str) -> None:
        """Remove a webhook, if it is there."""
        self._webhooks.pop(uuid, None)

    def answer(
        self, method: str, path: str, *, query: Mapping[str, str], authorization: str, body: bytes
    ) -> FakeResponse:
        """Return what Karla answers to a request, and do what it asks."""
        address = _ADDRESS.fullmatch(path)
        if address is None:
            return _refusal(404, "not_found", "no such address")
        if authorization != self._authorization:
            refusal = _refusal(401, "unauthorized", "user name or API key is wrong")
            return replace(refusal, headers={"WWW-Authenticate": "Basic"})
        if address["slug"] != self.shop_slug:
            return _refusal(403, "forbidden", "the API key is of another shop")
        try:
            if address["uuid"]:
                return self._answer_one(method, address["uuid"], body)
            return self._answer_all(method, query, body)
        except msgspec.ValidationError as error:
            if method == "GET":
                return _unprocessable("query", error, query)
            return _unprocessable("body", error, _json(body))

    def _answer_all(self, method: str, query: Mapping[str, str], body: bytes) -> FakeResponse:
        if method == "GET":
            return self._page(msgspec.convert(dict(query), _Query, strict=False))
        if method == "POST":
            return self._create(_object(body, _Creation))
        return _not_allowed("GET, POST")

    def _answer_one(self, method: str, which: str, body: bytes) -> FakeResponse:
        if method not in {"PATCH", "DELETE"}:
            return _not_allowed("PATCH, DELETE")
        webhook = self._webhooks.get(which)
        if webhook is None:
            return _refusal(404, "not_found", "there is no such webhook")
        if method == "DELETE":
            del self._webhooks[which]
            return FakeResponse(status=200, body=self._shown(webhook))
        return self._change(webhook, _object(body, _Change))

    def _page(self, query: _Query) -> FakeResponse:
        found = [
            webhook
            for webhook in self._webhooks.values()
            if query.uuid in {None, webhook.uuid}
            and query.status in {None, webhook.status}
            and query.url in {None, webhook.url}
        ]
        size = min(query.per_page, self.page_limit)
        start = (query.page - 1) * size
        return FakeResponse(
            status=200, body=[self._shown(each) for each in found[start : start + size]]
        )

    def _create(self, wanted: _Creation) -> FakeResponse:
        _check_url(wanted.url)
        same = [webhook for webhook in self._webhooks.values() if webhook.url == wanted.url]
        if same and self.duplicates == Duplicates.REFUSE:
            return _refusal(400, "already_exists", "a webhook of this URL exists")
        if same and self.duplicates == Duplicates.RETURN_EXISTING:
            return FakeResponse(status=200, body=self._shown(same[0]))
        webhook = self.register(**msgspec.structs.asdict(wanted))
        return FakeResponse(status=200, body={**self._shown(webhook), "secret": webhook.secret})

    def _change(self, webhook: RegisteredWebhook, wanted: _Change) -> FakeResponse:
        if wanted.url is not None:
            _check_url(wanted.url)
        given = msgspec.structs.asdict(wanted)
        changes: dict[str, Any] = {name: new for name, new in given.items() if new is not None}
        changed = replace(webhook, **changes, updated_at=self._now())
        self._webhooks[webhook.uuid] = changed
        return FakeResponse(status=200, body=self._shown(changed))

    def _shown(self, webhook: RegisteredWebhook) -> dict[str, object]:
        # The secret is given when a webhook is created, and never again.
        fields = msgspec.to_builtins(webhook)
        return {**fields, "secret": None, "shop_slug": self.shop_slug}

    def _now(self) -> str:
        return datetime.fromtimestamp(self._clock(), UTC).isoformat()


def _object(body: bytes, kind: type[_T]) -> _T:
    return msgspec.convert(_json(body), kind)


def _json(body: bytes) -> object:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, ValueError):
        return None


def _check_url(url: str) -> None:
    # The API's type is no more than a URI; that deliveries need https is in the guide.
    try:
        is_uri = bool(urlsplit(url).scheme and urlsplit(url).netloc)
    except ValueError:
        is_uri = False
    if not is_uri:
        raise msgspec.ValidationError("not a URL - at `$.url`")


def _refusal(status: int, key: str, message: str) -> FakeResponse:
    """Return an error in Karla's own form."""
    error: dict[str, object] = {"type": "invalid_request_error", "key": key, "message": message}
    return FakeResponse(status=status, body=error)


def _unprocessable(place: str, error: msgspec.ValidationError, given: object) -> FakeResponse:
    """Return an error in the form of FastAPI, which quotes what it was given: a secret, too."""
    message, _, path = str(error).partition(" - at `$.")
    name = path.rstrip("`")
    fields = cast("Mapping[str, object]", given if isinstance(given, Mapping) else {})
    problem: dict[str, object] = {
        "type": "value_error",
        "loc": [place, name] if name else [place],
        "msg": message,
        "input": fields.get(name),
    }
    return FakeResponse(status=422, body={"detail": [problem]})


def _not_allowed(allowed: str) -> FakeResponse:
    refusal = _refusal(405, "method_not_allowed", f"only {allowed}")
    return replace(refusal, headers={"Allow": allowed})
