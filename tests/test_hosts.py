from __future__ import annotations

import pytest

from karla_receiver.checks import is_host, is_loopback


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.0.0.1", "::1", "shop.example", "shop.example.", "a" * 63, "sh\xf6p.x"],
)
def test_names_and_addresses_are_hosts(host: str) -> None:
    assert is_host(host)


@pytest.mark.parametrize("host", [None, "", ".", "a..b", "..localhost", "a" * 64, "\udcff"])
def test_what_cannot_be_looked_up_is_no_host(host: str | None) -> None:
    assert not is_host(host)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "::1"])
def test_this_machine_is_known_by_name_and_address(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [None, "", "shop.localhost", "localhost.example", "127.0.0.1.example", "192.0.2.1", "::"],
)
def test_nothing_else_is_this_machine(host: str | None) -> None:
    assert not is_loopback(host)
