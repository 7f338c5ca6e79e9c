from __future__ import annotations

from collections.abc import Generator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from karla_receiver import ConfigurationError
from karla_receiver.registration import KarlaAPI, Webhook, make_plan
from karla_receiver.testing.fake_karla import FakeKarla
from tests.registration.clients import URL

PATTERNS = st.sampled_from(
    ["*", "claims", "claims/created", "shipments", "shipments/delivered", "shipments/delivered/NEW"]
)
WANTED = st.lists(PATTERNS, min_size=1)
# What others may have registered, among it what this library would refuse.
REGISTERED = st.lists(PATTERNS | st.sampled_from(["shipment_delivered", "order.shipped"]))
URLS = st.sampled_from([URL, "https://SHOP.example:443/webhooks/karla", f"{URL}/other"])


def webhook(url: str, events: list[str], number: int = 1, status: str = "active") -> Webhook:
    return Webhook(uuid=f"uuid-{number}", url=url, enabled_events=tuple(events), status=status)


def test_an_endpoint_that_is_not_registered_is_to_be_created() -> None:
    plan = make_plan([webhook(f"{URL}/other", ["*"])], URL, ["claims"])
    (change,) = plan.changes

    assert change.webhook is None
    assert (change.added, change.removed) == (("claims",), ())
    assert not plan.is_empty


def test_order_and_repetition_make_no_difference() -> None:
    there = webhook(URL, ["claims", "shipments", "claims"])
    plan = make_plan([there], URL, ["shipments", "claims"])
    assert plan.is_empty
    assert plan.unchanged == (there,)


def test_the_difference_is_told_both_ways() -> None:
    there = webhook(URL, ["claims", "shipments/delivered"], status="inactive")
    (change,) = make_plan([there], URL, ["shipments", "claims"]).changes

    assert change.webhook is there
    assert change.added == ("shipments",)
    assert change.removed == ("shipments/delivered",)
    assert change.enabled_events == ("shipments", "claims")


@pytest.mark.parametrize(
    ("url", "wanted"), [("http://shop.example", ["*"]), (URL, []), (URL, ["shipment"])]
)
def test_nothing_is_planned_that_could_not_be_done(url: str, wanted: list[str]) -> None:
    with pytest.raises(ConfigurationError):
        make_plan([], url, wanted)


@pytest.fixture(scope="module")
def synced() -> Generator[tuple[FakeKarla, KarlaAPI]]:
    with FakeKarla() as karla, KarlaAPI.from_env(karla.environ) as api:
        yield karla, api


@settings(max_examples=60)
@given(
    there=st.lists(
        st.tuples(URLS, REGISTERED, st.sampled_from(["active", "inactive"])), max_size=4
    ),
    wanted=WANTED,
)
def test_a_sync_makes_equal_what_is_wanted_and_a_second_one_is_nothing(
    there: list[tuple[str, list[str], str]],
    wanted: list[str],
    synced: tuple[FakeKarla, KarlaAPI],
) -> None:
    karla, api = synced
    for old in karla.webhooks:
        karla.unregister(old.uuid)
    for url, events, status in there:
        karla.register(url, enabled_events=events, status=status)
    before = {each.uuid: each for each in karla.webhooks}

    api.apply(api.plan(URL, wanted))
    after = karla.webhooks
    calls = len(karla.calls)
    second = api.plan(URL, wanted)

    assert second.is_empty
    assert api.apply(second) == ()
    assert karla.webhooks == after
    assert all(call.startswith("GET ") for call in karla.calls[calls:])
    here = [each for each in after if not each.url.endswith("/other")]
    assert here
    assert all(set(each.enabled_events) == set(wanted) for each in here)
    assert all(
        each == before[each.uuid] for each in after if each.uuid in before and each not in here
    )
    assert all(each.status == before[each.uuid].status for each in after if each.uuid in before)
