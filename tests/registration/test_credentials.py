from __future__ import annotations

from typing import Any

import pytest

from karla_receiver import ConfigurationError
from karla_receiver.registration import Secret
from karla_receiver.registration.credentials import KARLA_API, Credentials, credentials_in

LEAST = {"KARLA_SHOP_SLUG": "nordwind", "KARLA_API_KEY": "key"}


def credentials(**changes: Any) -> Credentials:
    fields: dict[str, Any] = {
        "shop_slug": "nordwind",
        "api_key": Secret("key"),
        "username": "nordwind",
        **changes,
    }
    return Credentials(**fields)


def test_the_least_environment_is_a_slug_and_a_key() -> None:
    found = credentials_in(LEAST)
    assert (found.shop_slug, found.username, found.base_url) == ("nordwind", "nordwind", KARLA_API)
    assert found.api_key.reveal() == "key"


def test_name_and_address_may_be_given() -> None:
    found = credentials_in(
        {**LEAST, "KARLA_API_USERNAME": "key-1", "KARLA_API_URL": "https://staging.example/api"}
    )
    assert (found.username, found.base_url) == ("key-1", "https://staging.example/api")


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({}, "set KARLA_SHOP_SLUG and KARLA_API_KEY in the environment"),
        ({"KARLA_API_KEY": "key", "KARLA_SHOP_SLUG": ""}, "set KARLA_SHOP_SLUG in the environment"),
        ({"KARLA_SHOP_SLUG": "nordwind"}, "set KARLA_API_KEY in the environment"),
    ],
)
def test_what_is_missing_is_named(environ: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        credentials_in(environ)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"shop_slug": ""}, "the shop slug is empty"),
        ({"shop_slug": " nordwind"}, "the shop slug is empty, has a blank"),
        ({"shop_slug": 7}, "the shop slug is empty, has a blank at an end, or is no text"),
        ({"shop_slug": "a/b"}, "'a/b' is no shop slug"),
        ({"shop_slug": ".."}, "'..' is no shop slug"),
        ({"username": ""}, "the user name is empty"),
        ({"username": "a:b"}, "must not contain a colon"),
        ({"username": "a\nb"}, "the user name"),
        ({"api_key": Secret("")}, "the API key is empty"),
        ({"api_key": Secret("key\n")}, "the API key is empty, has a blank or a line end"),
        ({"base_url": "http://api.gokarla.io"}, "over https only"),
        ({"base_url": "http://localhost.example"}, "over https only"),
        ({"base_url": "http://127.0.0.1.example"}, "over https only"),
        ({"base_url": "ftp://localhost"}, "over https only"),
        ({"base_url": "https://user@api.example"}, "a plain URL without user"),
        ({"base_url": "https://api.example?a=b"}, "a plain URL without user"),
        ({"base_url": "https://api.example#a"}, "a plain URL without user"),
        ({"base_url": "https://api.example:port"}, "a plain URL without user"),
        ({"base_url": "https://["}, "a plain URL without user"),
        ({"base_url": "https://api..example"}, "a plain URL without user"),
        ({"base_url": "https://api.example:0"}, "a plain URL without user"),
        ({"base_url": "api.example"}, "a plain URL without user"),
        ({"base_url": None}, "a plain URL without user"),
    ],
)
def test_what_cannot_be_sent_or_must_not_be_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        credentials(**changes)
    assert told in str(refusal.value)


@pytest.mark.parametrize(
    ("base_url", "is_local"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:8000", True),
        ("http://localhost:8000/", True),
        ("https://localhost", True),
        ("https://api.gokarla.io", False),
        ("https://10.0.0.1", False),
    ],
)
def test_http_is_for_this_machine(base_url: str, is_local: bool) -> None:
    assert credentials(base_url=base_url).is_local is is_local
