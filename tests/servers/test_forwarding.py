"""Spellings of a forwarded path on real servers: the view behind never sees what is not signed."""

from __future__ import annotations

import pytest

from karla_receiver.views.paths import DEFAULT_PATH
from tests.servers.launching import Server, delivery
from tests.servers.live import FORWARDED, NEW, OLD
from tests.servers.wire import exchange

pytestmark = pytest.mark.slow

SPELLINGS = [
    b"/webhooks/karla",
    b"/%77ebhooks/karla",
    b"/webhooks/karla?next=/",
    b"/webhooks/karla/",
    b"//webhooks/karla",
    b"/webhooks//karla",
    b"/webhooks/./karla",
    b"/shop/../webhooks/karla",
    b"/shop/%2e%2e/webhooks/karla",
    b"/WEBHOOKS/Karla",
    b"/webhooks%2Fkarla",
    b"/webhooks%252Fkarla",
    b"/webhooks%5Ckarla",
    b"/webhooks/karla;v=1",
    b"/webhooks;v=1/karla",
    b"/webhooks/karla%0A",
    b"/webhooks/karla%20",
    b"/webhooks//../karla",
    b"/webhooks/;x/../karla",
    b"/webhooks/..;/../karla",
    b"/webhooks/%20/../karla",
    b"/webhooks/%01/../karla",
    b"/webhooks/%E2%80%8B/../karla",
    b"/webhooks/%FF/../karla",
    b"/webhooks/%3F/../karla",
    b"/x%3F/../webhooks/karla",
    b"/x%23/../webhooks/karla",
]
PLAIN = SPELLINGS[:3]  # what every server makes the same path of


def spelled(whole: bytes, spelling: bytes) -> bytes:
    return whole.replace(DEFAULT_PATH.encode(), spelling, 1)


@pytest.mark.parametrize("spelling", SPELLINGS, ids=bytes.decode)
def test_a_view_behind_is_given_verified_deliveries_only(server: Server, spelling: bytes) -> None:
    start = server.journal.size()
    unsigned = delivery(FORWARDED).replace(b"Karla-Signature", b"X-Other")
    refused = [unsigned, delivery(FORWARDED, secret=NEW)]
    for request in refused:
        (answer,) = exchange(server.port, [spelled(request, spelling)])
        assert answer.status in {400, 401, 404}
    entries = server.journal.since(start, FORWARDED)
    assert not [entry for entry in entries if entry.kind in {"called", "viewed"}]

    (answer,) = exchange(server.port, [spelled(delivery(FORWARDED, secret=OLD), spelling)])
    entries = server.journal.since(start, FORWARDED)
    views = [entry.detail for entry in entries if entry.kind == "viewed"]
    assert views == (["verified"] if answer.status == 200 else [])
    if spelling in PLAIN:
        assert answer.status == 200
