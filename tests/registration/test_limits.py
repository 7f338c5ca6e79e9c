from __future__ import annotations

from typing import Any

import pytest

from karla_receiver import ConfigurationError, EventGroup
from karla_receiver.registration import KarlaAPI, Secret
from karla_receiver.registration.limits import (
    checked_events,
    checked_secret,
    checked_status,
    checked_url,
    is_same_url,
)
from karla_receiver.testing.fake_karla import FakeKarla
from tests.registration.clients import URL


def url_of(length: int) -> str:
    return "https://shop.example/".ljust(length, "x")


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "https://shop.example",
        "HTTPS://SHOP.EXAMPLE:8443/a?b=c&d=%20@",
        "https://xn--shp-tna.example/",
        "https://[2001:db8::1]/hook",
        url_of(65_536),
    ],
)
def test_a_good_url_is_left_as_it_is(url: str) -> None:
    assert checked_url(url) == url


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://shop.example/", "https only, and not to 'http://shop.example/'"),
        ("ftp://shop.example/", "https only"),
        ("//shop.example/", "https only"),
        ("", "is no URL of an endpoint"),
        ("shop.example/hook", "is no URL of an endpoint"),
        ("https:///hook", "is no URL of an endpoint"),
        ("https://shop.example:port/", "is no URL of an endpoint"),
        ("https://[shop/", "is no URL of an endpoint"),
        ("https://shop.example:0/", "is no URL of an endpoint"),
        ("https://shop..example/", "is no URL of an endpoint"),
        ("https://shop.example/a b", "is no URL: write"),
        (" https://shop.example/", "is no URL: write"),
        ("https://shop.example/\n", "is no URL: write"),
        ("https://sh\tp.example/", "is no URL: write"),
        ("https://sh\u00f6p.example/", "xn-- form"),
        ("https://shop.example/#top", "leave the fragment out"),
        (url_of(65_537), "at most 65536 characters, not 65537"),
        (b"https://shop.example/", "is text, not bytes"),
        (None, "is text, not NoneType"),
    ],
)
def test_a_url_that_karla_cannot_deliver_to_is_refused_with_the_reason(url: Any, told: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        checked_url(url)
    assert told in str(refusal.value)
    assert len(str(refusal.value)) < 500


@pytest.mark.parametrize(
    "url",
    [
        "https://user:hunter2@shop.example/",
        "http://user:hunter2@shop.example/",
        "https://user:hunter2@",
        "https://user:hunter2@sh\u00f6p.example/",
        "https://user:hunter2@shop.example:port/",
    ],
)
def test_a_password_in_a_url_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        checked_url(url)
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize("secret", ["x" * 16, "x" * 64, "with a blank in it", "~!@#$%^&*()_+{}|"])
def test_a_good_secret_is_hidden_and_left_as_it_is(secret: str) -> None:
    assert checked_secret(secret) == checked_secret(Secret(secret)) == Secret(secret)
    assert checked_secret(secret).reveal() == secret


@pytest.mark.parametrize(
    ("secret", "told"),
    [
        ("x" * 15, "16 to 64 characters, not 15"),
        ("x" * 65, "16 to 64 characters, not 65"),
        ("", "16 to 64 characters, not 0"),
        (" " * 16, "no blank at either end"),
        ("x" * 16 + "\n", "no blank at either end"),
        ("\u00fc" * 16, "visible ASCII"),
        ("x\0" * 16, "visible ASCII"),
        ("\ud800" * 16, "visible ASCII"),
        (b"x" * 16, "is text, not bytes"),
        (16, "is text, not int"),
    ],
)
def test_a_bad_secret_is_refused_with_the_reason(secret: Any, told: str) -> None:
    with pytest.raises(ConfigurationError, match="the secret ") as refusal:
        checked_secret(secret)
    assert told in str(refusal.value)


def test_patterns_are_sent_once_each_in_order() -> None:
    patterns = ["claims", "shipments/delivered", "claims", "returns/new"]
    assert checked_events(patterns) == ("claims", "shipments/delivered", "returns/new")
    assert checked_events(iter(["*"])) == ("*",)


@pytest.mark.parametrize(
    ("patterns", "told"),
    [
        ("claims", "are a list, as ['claims']"),
        ([], "name at least one pattern"),
        (["shipment/delivered"], "did you mean 'shipments/delivered'?"),
        (["shipments/*"], "never matches"),
        (["claims", ""], "has an empty part"),
        ([None], "a pattern is text"),
        ([EventGroup.CLAIM_CREATED], "to take that group is 'claims/created'"),
        (["shipment_delivered"], "to take that group is 'shipments'"),
    ],
)
def test_a_pattern_that_never_matches_is_refused_with_the_remedy(patterns: Any, told: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        checked_events(patterns)
    assert told in str(refusal.value)


def test_there_are_two_statuses() -> None:
    assert [checked_status("active"), checked_status("inactive")] == ["active", "inactive"]
    for status in ("Active", "", "paused"):
        with pytest.raises(ConfigurationError, match="'active' or 'inactive', not"):
            checked_status(status)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("https://shop.example", "https://shop.example/", True),
        ("https://shop.example/", "https://shop.example:443", True),
        ("https://shop.example/a", "HTTPS://Shop.Example/a", True),
        ("https://shop.example/a", "https://shop.example/A", False),
        ("https://shop.example/a", "https://shop.example/a/", False),
        ("https://shop.example/a", "https://shop.example/a?", True),
        ("https://shop.example/a?x", "https://shop.example/a?y", False),
        ("https://shop.example", "http://shop.example", False),
        ("https://shop.example:444", "https://shop.example", False),
        ("https://[", "https://[", True),
        ("https://[", "https://shop.example", False),
    ],
)
def test_urls_are_the_same_in_their_normal_form(one: str, other: str, is_same: bool) -> None:
    assert is_same_url(one, other) is is_same
    assert is_same_url(other, one) is is_same


def test_what_is_refused_is_never_sent(karla: FakeKarla) -> None:
    with KarlaAPI.from_env(karla.environ) as api:
        wrong_uses: list[Any] = [
            lambda: api.create("http://shop.example"),
            lambda: api.create(URL, secret="short"),
            lambda: api.create(URL, enabled_events=["shipment"]),
            lambda: api.create(URL, status="paused"),
            lambda: api.update(URL, url="http://shop.example"),
            lambda: api.update(URL, enabled_events=[]),
            lambda: api.update(URL, status="paused"),
            lambda: api.get("http://shop.example"),
            lambda: api.delete("neither a url nor a uuid"),
            lambda: api.plan("http://shop.example", ["*"]),
            lambda: api.plan(URL, ["shipment"]),
        ]
        for wrong_use in wrong_uses:
            with pytest.raises(ConfigurationError):
                wrong_use()
    assert karla.calls == []
