"""What can go wrong between a client and Karla, over real sockets, as a table."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import pytest

from karla_receiver.registration import (
    CredentialsError,
    KarlaAPI,
    NotRegisteredError,
    RefusedError,
    RegistrationError,
    UnavailableError,
    UnexpectedAnswerError,
)
from tests.ports import reserved_port
from tests.registration.clients import URL, client, environ_of, http, serving
from tests.waiting import PATIENCE_SECONDS, until

UUID = "7b0f3e52-8f0e-4f6e-9a39-1f5f6c0d2a11"
WEBHOOK = b'{"uuid": "%b", "url": "https://shop.example", "enabled_events": ["*"]}' % UUID.encode()
PAGE = http(200, b"[%b]" % WEBHOOK)
EMPTY = http(200, b"[]")
CREATED = http(200, WEBHOOK)
BROKEN = http(200, b'[{"uuid": "7b')
CUT = http(200, WEBHOOK)[:-10]


def listed(api: KarlaAPI) -> Any:
    return [webhook.uuid for webhook in api.webhooks()]


def created(api: KarlaAPI) -> Any:
    return api.create(URL).uuid


def changed(api: KarlaAPI) -> Any:
    return api.update(UUID, status="inactive").uuid


def deleted(api: KarlaAPI) -> Any:
    return api.delete(UUID)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """answers: of the server, in turn. result: what comes of it: a value, or an error.

    calls: how many requests the server must have seen.
    """

    name: str
    operation: Any
    answers: tuple[bytes | None, ...]
    result: Any
    calls: int
    told: str = ""


FAULTS = [
    Fault(
        name="500, then 200",
        operation=listed,
        answers=(http(500), PAGE, EMPTY),
        result=[UUID],
        calls=3,
    ),
    Fault(
        name="a list: 500 for ever",
        operation=listed,
        answers=(http(500),) * 3,
        result=UnavailableError,
        calls=3,
        told="Karla could not answer: GET http://",
    ),
    Fault(
        name="a creation: 500 is not repeated",
        operation=created,
        answers=(http(500), CREATED),
        result=UnavailableError,
        calls=1,
        told="may have been created all the same",
    ),
    Fault(
        name="a change: 502, then 200",
        operation=changed,
        answers=(http(502, b"<html>bad gateway</html>"), CREATED),
        result=UUID,
        calls=2,
    ),
    Fault(
        name="a deletion: 504, then 204",
        operation=deleted,
        answers=(http(504), http(204)),
        result=None,
        calls=2,
    ),
    Fault(
        name="a deletion: a lost answer, then 404",
        operation=deleted,
        answers=(b"", http(404)),
        result=None,
        calls=2,
    ),
    Fault(
        name="a deletion: 429, then 404: nothing was done",
        operation=deleted,
        answers=(http(429), http(404)),
        result=NotRegisteredError,
        calls=2,
    ),
    Fault(
        name="501 is not repeated",
        operation=listed,
        answers=(http(501), PAGE),
        result=UnavailableError,
        calls=1,
    ),
    Fault(
        name="429 with Retry-After 0, then 200",
        operation=created,
        answers=(http(429, b"", "Retry-After: 0"), CREATED),
        result=UUID,
        calls=2,
    ),
    Fault(
        name="429 with a Retry-After that is no date, then 200",
        operation=created,
        answers=(http(429, b"", "Retry-After: soon"), CREATED),
        result=UUID,
        calls=2,
    ),
    Fault(
        name="429 with a longer Retry-After than we wait",
        operation=listed,
        answers=(http(429, b"", "Retry-After: 3600"), PAGE),
        result=UnavailableError,
        calls=1,
        told="too many calls, retry after '3600'",
    ),
    Fault(
        name="nothing comes",
        operation=listed,
        answers=(None,) * 3,
        result=UnavailableError,
        calls=3,
        told="no answer: nothing came in time",
    ),
    Fault(
        name="a creation: nothing comes",
        operation=created,
        answers=(None, CREATED),
        result=UnavailableError,
        calls=1,
        told="since nobody has seen its secret",
    ),
    Fault(
        name="closed without an answer, then 200",
        operation=listed,
        answers=(b"", PAGE, EMPTY),
        result=[UUID],
        calls=3,
    ),
    Fault(
        name="a creation: cut in the middle",
        operation=created,
        answers=(CUT, CREATED),
        result=UnavailableError,
        calls=1,
    ),
    Fault(
        name="no HTTP",
        operation=listed,
        answers=(b"220 mail.example ESMTP\r\n",) * 3,
        result=UnavailableError,
        calls=3,
        told="RemoteProtocolError",
    ),
    Fault(
        name="broken JSON",
        operation=listed,
        answers=(BROKEN, PAGE),
        result=UnexpectedAnswerError,
        calls=1,
        told="got not a list in JSON, in 13 bytes: GET http://",
    ),
    Fault(
        name="a page in a wrapper",
        operation=listed,
        answers=(http(200, b'{"webhooks": []}'),),
        result=UnexpectedAnswerError,
        calls=1,
    ),
    Fault(
        name="a webhook without a uuid",
        operation=listed,
        answers=(http(200, b'[{"url": "https://shop.example", "enabled_events": []}]'),),
        result=UnexpectedAnswerError,
        calls=1,
        told="missing required field `uuid`",
    ),
    Fault(
        name="a creation: not UTF-8",
        operation=created,
        answers=(http(200, b'{"uuid": "\xff"}'),),
        result=UnexpectedAnswerError,
        calls=1,
        told="no webhook: not an object",
    ),
    Fault(
        name="a redirect",
        operation=listed,
        answers=(http(302, b"", "Location: http://127.0.0.1:9/"), PAGE),
        result=UnexpectedAnswerError,
        calls=1,
        told="redirected to 'http://127.0.0.1:9/', where no credentials are sent",
    ),
    Fault(
        name="304, which nobody asked for",
        operation=listed,
        answers=(http(304),),
        result=UnexpectedAnswerError,
        calls=1,
        told="no status that Karla documents",
    ),
    Fault(
        name="401",
        operation=created,
        answers=(http(401, b'{"type": "invalid_request_error", "message": "bad key"}'),),
        result=CredentialsError,
        calls=1,
        told="answered 401 (Karla: bad key)",
    ),
    Fault(
        name="404 for the whole shop",
        operation=listed,
        answers=(http(404, b'{"detail": "Not Found"}'),),
        result=RefusedError,
        calls=1,
        told="check shop slug and address: GET http://",
    ),
    Fault(
        name="400 with an unknown form",
        operation=listed,
        answers=(http(400, b"you\x1b[2J\r\n  did\twrong"),),
        result=RefusedError,
        calls=1,
        told="(Karla: you\\x1b[2J did wrong)",
    ),
    Fault(
        name="gzip that is none",
        operation=created,
        answers=(http(200, b"not gzip", "Content-Encoding: gzip"),),
        result=UnavailableError,
        calls=1,
        told="DecodingError",
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_got_over_or_told(fault: Fault) -> None:
    # Time only where it has to run out.
    timeout = 0.2 if None in fault.answers else PATIENCE_SECONDS
    with (
        serving(*fault.answers) as (address, requests),
        client(environ_of(address), timeout=timeout) as api,
    ):
        if isinstance(fault.result, type):
            with pytest.raises(fault.result) as failure:
                fault.operation(api)
            assert type(failure.value) is fault.result
            assert fault.told in str(failure.value)
            assert str(getattr(failure.value, "url", "")).startswith(
                f"http://{address}/v1/shops/nordwind/webhooks"
            )
        else:
            assert fault.operation(api) == fault.result
        until(lambda: len(requests) >= fault.calls)
        assert len(requests) == fault.calls


def test_a_refused_connection_is_told_and_was_certainly_not_done() -> None:
    with (
        reserved_port() as port,
        client(environ_of(f"127.0.0.1:{port}")) as api,
        pytest.raises(UnavailableError) as failure,
    ):
        api.create(URL)
    assert "no answer: ConnectError: " in str(failure.value)
    assert failure.value.status is None
    assert not failure.value.may_be_done
    assert "may have been created" not in str(failure.value)


def test_a_server_without_tls_is_told_at_once() -> None:
    with (
        serving(http(200), http(200)) as (address, requests),
        client(environ_of(address, KARLA_API_URL=f"https://{address}")) as api,
        pytest.raises(UnavailableError, match=r"ConnectError: .*SSL"),
    ):
        api.create(URL)
    assert len(requests) == 1


def test_what_karla_asked_to_wait_is_in_the_error() -> None:
    with (
        serving(http(503, b"", "Retry-After: 120")) as (address, _),
        client(environ_of(address)) as api,
        pytest.raises(UnavailableError) as failure,
    ):
        list(api.webhooks())
    assert failure.value.retry_after == 120


def test_a_retry_is_logged_without_what_was_sent(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="karla_receiver")
    with (
        serving(http(503), PAGE, EMPTY) as (address, _),
        client(environ_of(address)) as api,
    ):
        list(api.webhooks())
    (message,) = caplog.messages
    assert message.startswith(f"GET http://{address}/v1/shops/nordwind/webhooks: <Answer 503>; ")
    assert "attempt 2 follows in 0.0 s" in message


def test_requests_say_who_sends_them_and_what() -> None:
    with serving(CREATED) as (address, requests), client(environ_of(address)) as api:
        api.create(URL, enabled_events=["claims"])
    head, _, body = requests[0].partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")

    assert lines[0] == "post /v1/shops/nordwind/webhooks http/1.1"
    assert "content-type: application/json" in lines
    assert "accept: application/json" in lines
    assert any(line.startswith("user-agent: karla-receiver/") for line in lines)
    assert body == b'{"url":"%b","enabled_events":["claims"],"status":"active"}' % URL.encode()


@pytest.mark.parametrize(
    ("slug", "path"),
    [("a shop", "a%20shop"), ("sh\u00f6p", "sh%C3%B6p"), ("a?b#c%2f", "a%3Fb%23c%252f")],
)
def test_a_slug_stays_one_part_of_the_path(slug: str, path: str) -> None:
    environ = {"KARLA_SHOP_SLUG": slug, "KARLA_API_USERNAME": "shop"}
    with serving(EMPTY) as (address, requests), client(environ_of(address, **environ)) as api:
        list(api.webhooks())
    assert requests[0].startswith(f"GET /v1/shops/{path}/webhooks?page=1&".encode())


def test_no_proxy_of_the_environment_sees_what_is_for_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with serving(EMPTY) as (address, _), client(environ_of(address)) as api:
        assert list(api.webhooks()) == []


def test_every_error_of_a_call_is_one_that_can_be_caught_at_once() -> None:
    kinds = {fault.result for fault in FAULTS if isinstance(fault.result, type)}
    assert all(issubclass(each, RegistrationError) for each in kinds)
    assert len(kinds) == 5
