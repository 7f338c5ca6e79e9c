"""Who calls Karla's API, for which shop, and where the API is."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import msgspec

from karla_receiver.checks import is_host, is_loopback
from karla_receiver.errors import ConfigurationError
from karla_receiver.registration.secret import Secret

__all__ = ["KARLA_API", "Credentials", "credentials_in"]

KARLA_API: Final = "https://api.gokarla.io"


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """A shop, and the API key that manages its webhooks.

    shop_slug: as in the portal's address. username: the name that the API key was given.
    base_url: https, or http to this machine.
    Raises ConfigurationError for what cannot be sent or must not be.
    """

    shop_slug: str
    api_key: Secret
    username: str
    base_url: str = KARLA_API

    def __post_init__(self) -> None:
        _check_text("the shop slug", self.shop_slug)
        if self.shop_slug in (".", "..") or "/" in self.shop_slug:
            raise ConfigurationError(f"{self.shop_slug!a} is no shop slug: it is one word")
        _check_text("the user name", self.username)
        if ":" in self.username:
            # RFC 7617: the server would take what follows for the password.
            raise ConfigurationError("the user name must not contain a colon")
        if _unusable(self.api_key.reveal()):
            raise ConfigurationError(
                "the API key is empty, has a blank or a line end at an end, or is no text:"
                " copy it from Karla's portal"
            )
        _check_base(self.base_url)

    @property
    def hidden(self) -> tuple[Secret, ...]:
        """What must not be shown of these: the key, and the header that it is sent in."""
        pair = f"{self.username}:{self.api_key.reveal()}".encode()
        return (self.api_key, Secret(b64encode(pair).decode()))

    @property
    def is_https(self) -> bool:
        """Whether the API is reached over https."""
        return urlsplit(self.base_url).scheme == "https"

    @property
    def is_local(self) -> bool:
        """Whether the API is on this machine."""
        return is_loopback(urlsplit(self.base_url).hostname)


def credentials_in(environ: Mapping[str, str]) -> Credentials:
    """Read KARLA_SHOP_SLUG, KARLA_API_KEY and, if set, KARLA_API_USERNAME and KARLA_API_URL.

    Raises ConfigurationError if one of the first two is missing, or for an unusable value.
    """
    try:
        missing = [name for name in ("KARLA_SHOP_SLUG", "KARLA_API_KEY") if not environ.get(name)]
        if missing:
            raise ConfigurationError(
                f"set {' and '.join(missing)} in the environment: a shop's slug and API key are"
                " in Karla's portal"
            )
        return Credentials(
            shop_slug=environ["KARLA_SHOP_SLUG"],
            api_key=Secret(environ["KARLA_API_KEY"]),
            username=environ.get("KARLA_API_USERNAME") or environ["KARLA_SHOP_SLUG"],
            base_url=environ.get("KARLA_API_URL") or KARLA_API,
        )
    finally:
        del environ


def _check_text(what: str, value: object) -> None:
    if _unusable(value):
        raise ConfigurationError(f"{what} is empty, has a blank at an end, or is no text")


def _unusable(value: object) -> bool:
    return (
        not isinstance(value, str)
        or not value
        or value.strip() != value
        or not value.isprintable()  # which lone surrogates are not, either
    )


def _check_base(url: str) -> None:
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except (ValueError, AttributeError):
        host = parts = None
    if (
        not is_host(host)
        or parts is None
        or parts.port == 0
        or parts.query
        or parts.fragment
        or "@" in parts.netloc
    ):
        raise ConfigurationError(
            "the address of the API is a plain URL without user, query and fragment, like"
            f" {KARLA_API!a}"
        )
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise ConfigurationError(
            f"the API key goes over https only, or over http to this machine: not to {url!a}"
        )
