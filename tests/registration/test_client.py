"""The client against a Karla that speaks HTTP."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from itertools import islice
from typing import Any

import pytest

from karla_receiver import ConfigurationError, Receiver
from karla_receiver.registration import (
    AmbiguousURLError,
    CredentialsError,
    KarlaAPI,
    NotRegisteredError,
    RefusedError,
    RegistrationError,
    Secret,
    UnavailableError,
    Webhook,
)
from karla_receiver.testing.fake_karla import Duplicates, FakeKarla
from tests.registration.clients import URL, client

LIST = "GET /v1/shops/nordwind/webhooks"


def test_a_created_webhook_is_what_was_asked_for_and_has_its_secret(
    api: KarlaAPI, karla: FakeKarla
) -> None:
    created: Webhook = api.create(
        URL,
        enabled_events=["shipments/delivered", "claims", "claims"],
        description="the shop",
        status="inactive",
    )
    (registered,) = karla.webhooks

    assert created.uuid == registered.uuid
    assert created.url == registered.url == URL
    assert created.enabled_events == registered.enabled_events == ("shipments/delivered", "claims")
    assert created.description == registered.description == "the shop"
    assert created.status == registered.status == "inactive"
    assert created.shop_slug == "nordwind"
    assert created.created_at is not None
    assert created.created_at.utcoffset() == timedelta(0)
    assert created.secret is not None
    assert created.secret.reveal() == registered.secret


def test_every_event_is_enabled_by_default_and_karla_makes_the_secret(
    api: KarlaAPI, karla: FakeKarla
) -> None:
    api.create(URL)
    (registered,) = karla.webhooks

    assert registered.enabled_events == ("*",)
    assert registered.status == "active"
    assert registered.description is None
    assert len(registered.secret) == 32


@pytest.mark.parametrize("secret", ["a-secret-of-mine-1", Secret("a-secret-of-mine-1")])
def test_an_own_secret_is_used(secret: str | Secret, api: KarlaAPI, karla: FakeKarla) -> None:
    used = api.create(URL, secret=secret).secret
    assert used is not None
    assert used.reveal() == "a-secret-of-mine-1"
    assert karla.webhooks[0].secret == "a-secret-of-mine-1"


@pytest.mark.parametrize("page_limit", [1, 2, 3, 100])
def test_the_list_is_whole_however_it_is_paged(page_limit: int, karla: FakeKarla) -> None:
    with (
        FakeKarla(page_limit=page_limit) as karla,
        client(karla.environ) as api,
    ):
        urls = [karla.register(f"{URL}/{number}").url for number in range(6)]
        assert [webhook.url for webhook in api.webhooks()] == urls


def test_a_list_longer_than_a_page_is_whole(api: KarlaAPI, karla: FakeKarla) -> None:
    uuids = [karla.register(f"{URL}/{number}").uuid for number in range(205)]

    assert [webhook.uuid for webhook in api.webhooks()] == uuids
    assert f"{LIST}?page=3&per_page=100" in karla.calls


def test_pages_are_read_as_they_are_needed(karla: FakeKarla) -> None:
    for number in range(101):
        karla.register(f"{URL}/{number}")
    with KarlaAPI.from_env(karla.environ) as api:
        assert len(list(islice(api.webhooks(), 100))) == 100
    assert karla.calls == [f"{LIST}?page=1&per_page=100"]


def test_an_empty_list_is_empty(api: KarlaAPI) -> None:
    assert list(api.webhooks()) == []


def test_no_list_shows_a_secret(api: KarlaAPI) -> None:
    api.create(URL)
    assert [webhook.secret for webhook in api.webhooks()] == [None]


def test_the_filters_are_karlas(api: KarlaAPI, karla: FakeKarla) -> None:
    first = karla.register(URL)
    second = karla.register(f"{URL}/2", status="inactive")

    assert [each.uuid for each in api.webhooks(status="inactive")] == [second.uuid]
    assert [each.uuid for each in api.webhooks(uuid=first.uuid)] == [first.uuid]
    assert [each.uuid for each in api.webhooks(url=f"{URL}/2")] == [second.uuid]
    assert "&page=1" in karla.calls[-2]


@pytest.mark.parametrize(
    "spelling",
    [URL, "HTTPS://shop.example/webhooks/karla", "https://SHOP.example:443/webhooks/karla"],
)
def test_a_webhook_is_got_by_any_spelling_of_its_url(
    spelling: str, api: KarlaAPI, karla: FakeKarla
) -> None:
    karla.register(f"{URL}/other")
    registered = karla.register(URL)
    assert api.get(spelling).uuid == registered.uuid


@pytest.mark.parametrize("other", [f"{URL}/", f"{URL}?a=1", "https://shop.example:444/webhooks"])
def test_another_url_is_another_webhook(other: str, api: KarlaAPI, karla: FakeKarla) -> None:
    karla.register(URL)
    with pytest.raises(NotRegisteredError, match="no webhook is registered as"):
        api.get(other)


@pytest.mark.parametrize("form", ["{}", "{{{}}}", "urn:uuid:{}"])
@pytest.mark.parametrize("write", [str, str.upper, lambda text: text.replace("-", "")])
def test_a_webhook_is_got_changed_and_deleted_by_its_uuid_in_any_form(
    form: str, write: Callable[[str], str], api: KarlaAPI, karla: FakeKarla
) -> None:
    karla.register(f"{URL}/other")
    registered = karla.register(URL)
    written = form.format(write(registered.uuid))
    assert api.get(written).url == URL
    assert api.update(written, status="inactive").uuid == registered.uuid
    api.delete(written)
    assert [webhook.url for webhook in karla.webhooks] == [f"{URL}/other"]


def test_of_several_webhooks_of_a_url_one_must_be_named(api: KarlaAPI, karla: FakeKarla) -> None:
    first, second = karla.register(URL), karla.register(URL)
    with pytest.raises(AmbiguousURLError, match=rf"{first.uuid} \(active, new\), {second.uuid} \("):
        api.delete(URL)
    api.delete(second.uuid)
    assert [each.uuid for each in karla.webhooks] == [first.uuid]


@pytest.mark.parametrize("by_url", [True, False])
def test_an_update_changes_what_it_names_and_nothing_else(
    by_url: bool, api: KarlaAPI, karla: FakeKarla
) -> None:
    before = karla.register(URL, enabled_events=["claims"], description="old")
    which = URL if by_url else before.uuid

    assert api.update(which, description="new").description == "new"
    assert api.update(which, enabled_events=["*"]).enabled_events == ("*",)
    assert api.update(which, status="inactive").status == "inactive"
    moved = api.update(which, url=f"{URL}/moved")
    (after,) = karla.webhooks

    assert moved.url == after.url == f"{URL}/moved"
    assert (after.uuid, after.secret) == (before.uuid, before.secret)
    assert (after.description, after.enabled_events, after.status) == ("new", ("*",), "inactive")


def test_an_update_of_nothing_is_a_mistake(api: KarlaAPI, karla: FakeKarla) -> None:
    with pytest.raises(ConfigurationError, match="nothing to change"):
        api.update(URL)
    assert karla.calls == []


@pytest.mark.parametrize("body", [b"", b"{}", b'"done"', b"<html>"])
def test_an_update_whose_answer_says_nothing_is_looked_up(
    body: bytes, api: KarlaAPI, karla: FakeKarla
) -> None:
    registered = karla.register(URL)
    karla.fail_next(200, body=body, is_done=True)

    assert api.update(registered.uuid, description="new").description == "new"


@pytest.mark.parametrize("by_url", [True, False])
def test_a_deleted_webhook_is_gone(by_url: bool, api: KarlaAPI, karla: FakeKarla) -> None:
    registered = karla.register(URL)

    api.delete(URL if by_url else registered.uuid)
    assert karla.webhooks == []
    with pytest.raises(NotRegisteredError):
        api.delete(URL if by_url else registered.uuid)


def test_a_deletion_answered_204_is_one(api: KarlaAPI, karla: FakeKarla) -> None:
    registered = karla.register(URL)
    karla.fail_next(204, is_done=True)

    api.delete(registered.uuid)
    assert karla.webhooks == []


def test_a_deletion_whose_answer_was_lost_is_done(api: KarlaAPI, karla: FakeKarla) -> None:
    registered = karla.register(URL)
    karla.fail_next(502, is_done=True)

    api.delete(registered.uuid)
    assert [call.split("/")[0] for call in karla.calls] == ["DELETE ", "DELETE "]


def test_what_is_not_there_cannot_be_deleted_or_changed(api: KarlaAPI) -> None:
    nobody = str(uuid.uuid4())
    for operation, fields in ((api.delete, {}), (api.update, {"status": "active"})):
        with pytest.raises(NotRegisteredError) as refusal:
            operation(nobody, **fields)
        assert refusal.value.status == 404
        assert "not_found: there is no such webhook" in str(refusal.value)


@pytest.mark.parametrize(
    ("environ", "kind_of_error", "status"),
    [
        ({"KARLA_API_KEY": "another"}, CredentialsError, 401),
        ({"KARLA_API_USERNAME": "another"}, CredentialsError, 401),
        ({"KARLA_SHOP_SLUG": "another"}, CredentialsError, 403),
    ],
)
def test_wrong_credentials_are_told_apart_from_everything_else(
    environ: dict[str, str],
    kind_of_error: type[RegistrationError],
    status: int,
    karla: FakeKarla,
) -> None:
    with (
        client({**karla.environ, **environ}) as api,
        pytest.raises(kind_of_error) as refusal,
    ):
        list(api.webhooks())
    assert refusal.value.status == status
    assert refusal.value.method == "GET"
    assert refusal.value.url.startswith(karla.api_url)
    assert refusal.value.answer is not None
    assert refusal.value.answer.key in {"unauthorized", "forbidden"}


def test_what_karla_finds_wrong_is_told_field_by_field(api: KarlaAPI, karla: FakeKarla) -> None:
    body = b'{"detail": [{"loc": ["body", "url"], "msg": "no certificate", "type": "bad_url"}]}'
    karla.fail_next(422, body=body)
    with pytest.raises(RefusedError) as refusal:
        api.create(URL)
    assert refusal.value.answer is not None
    (problem,) = refusal.value.answer.problems
    assert (problem.field, problem.message, problem.type) == (
        "body.url",
        "no certificate",
        "bad_url",
    )
    assert "(Karla: body.url: no certificate)" in str(refusal.value)


def test_an_endpoint_that_was_there_before_comes_without_a_secret() -> None:
    with (
        FakeKarla(duplicates=Duplicates.RETURN_EXISTING) as karla,
        client(karla.environ) as api,
    ):
        registered = karla.register(URL)
        again = api.create(URL)
    assert (again.uuid, again.secret) == (registered.uuid, None)


def test_a_url_that_karla_refuses_twice_is_an_error() -> None:
    with FakeKarla(duplicates=Duplicates.REFUSE) as karla, client(karla.environ) as api:
        api.create(URL)
        with pytest.raises(RefusedError, match="already_exists: a webhook of this URL exists"):
            api.create(URL)


def test_a_creation_that_may_be_done_is_not_repeated(api: KarlaAPI, karla: FakeKarla) -> None:
    karla.fail_next(502, is_done=True)
    with pytest.raises(UnavailableError, match="look for it in the list, and delete") as failure:
        api.create(URL)
    assert failure.value.may_be_done
    assert len(karla.webhooks) == 1
    assert len(karla.calls) == 1


def test_a_sync_registers_what_the_handlers_need(api: KarlaAPI, karla: FakeKarla) -> None:
    receiver = Receiver("any-secret-of-sixteen")
    receiver.on("shipments/delivered", "claims")(lambda event: None)

    (created,) = api.apply(api.plan(URL, receiver))
    assert created.enabled_events == ("shipments/delivered", "claims")
    assert created.secret is not None
    assert api.plan(URL, receiver).is_empty

    receiver.on("shipments")(lambda event: None)
    plan = api.plan(URL, receiver)
    (change,) = plan.changes
    assert (change.added, change.removed) == (("shipments",), ("shipments/delivered",))
    (changed,) = api.apply(plan)
    assert changed.uuid == created.uuid
    assert karla.webhooks[0].enabled_events == ("claims", "shipments")
    assert api.plan(URL, receiver).is_empty


def test_a_sync_keeps_all_webhooks_of_a_url_equal(api: KarlaAPI, karla: FakeKarla) -> None:
    karla.register(URL, enabled_events=["claims"])
    karla.register(URL, enabled_events=["*"])
    karla.register(f"{URL}/other", enabled_events=["*"])

    plan = api.plan(URL, ["claims"])
    assert len(plan.changes) == len(plan.unchanged) == 1
    api.apply(plan)
    assert [each.enabled_events for each in karla.webhooks] == [("claims",), ("claims",), ("*",)]


def test_a_plan_changes_nothing(api: KarlaAPI, karla: FakeKarla) -> None:
    karla.register(URL, enabled_events=["claims"])
    before = karla.webhooks
    api.plan(URL, ["*"])
    api.plan(f"{URL}/new", ["*"])
    assert karla.webhooks == before
    assert {call.split()[0] for call in karla.calls} == {"GET"}


@pytest.mark.parametrize("wanted", [[], Receiver("any-secret-of-sixteen")])
def test_a_receiver_without_handlers_is_not_registered(
    wanted: list[str] | Receiver, api: KarlaAPI, karla: FakeKarla
) -> None:
    with pytest.raises(ConfigurationError, match="needs a handler"):
        api.plan(URL, wanted)
    assert karla.calls == []


def test_a_closed_client_says_so(karla: FakeKarla) -> None:
    api = KarlaAPI.from_env(karla.environ)
    api.close()
    with pytest.raises(ConfigurationError, match="this client was closed"):
        api.get(URL)


def test_a_client_is_made_from_arguments_too(karla: FakeKarla) -> None:
    address = f"{karla.api_url}/"
    for key, username in (("fake-api-key", None), (Secret("fake-api-key"), "nordwind")):
        with KarlaAPI("nordwind", key, username=username, base_url=address) as api:
            assert list(api.webhooks()) == []


BAD_OPTIONS: list[tuple[dict[str, Any], str]] = [
    *(
        ({"timeout": value}, "timeout is a number of seconds, more than 0 and at most a day, not ")
        for value in (0, -1, float("inf"), float("nan"), "10", True, None, 10**400, 1e300)
    ),
    *(({"retries": value}, "retries is a Retries") for value in (None, 3, {"attempts": 1})),
    ({"time_out": 5}, "'time_out' is no option of a client: there are retries and timeout"),
    ({"retry": 1, "time_out": 5}, "'retry' is no option"),
]


@pytest.mark.parametrize(("options", "told"), BAD_OPTIONS)
def test_an_option_that_cannot_work_is_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        KarlaAPI("nordwind", "key", **options)
    with pytest.raises(ConfigurationError, match=told):
        KarlaAPI.from_env({"KARLA_SHOP_SLUG": "nordwind", "KARLA_API_KEY": "key"}, **options)
