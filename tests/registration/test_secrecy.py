"""Neither the API key nor a webhook's secret is seen: canaries, looked for in every report."""

from __future__ import annotations

import json
import logging
import pickle
import traceback
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from karla_receiver import ConfigurationError, KarlaReceiverError
from karla_receiver.registration import KarlaAPI, RegistrationError, Secret, Webhook
from karla_receiver.registration.credentials import Credentials, credentials_in
from karla_receiver.testing.fake_karla import FakeKarla
from tests.registration.clients import URL, client, environ_of, http, serving
from tests.test_secrecy import shown
from tests.waiting import PATIENCE_SECONDS

# In two parts, so that no line of this file that a traceback quotes holds them.
KEY = "canary-of-the-key-" + "5f0c9f1f"
SECRET = "canary-of-the-webhook-" + "77aa0c1d"
BASIC = b64encode(f"nordwind:{KEY}".encode()).decode()
CANARIES = (KEY, SECRET, BASIC)
TESTS = str(Path(__file__).parent.parent)


def links(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and all that it was raised from, hidden or not."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def report(error: BaseException) -> str:
    """Format an error as the worst reporting tool does: every frame but the tests' own."""
    parts: list[str] = []
    for link in links(error):
        whole = traceback.TracebackException.from_exception(link, capture_locals=True)
        ours = [frame for frame in whole.stack if not frame.filename.startswith(TESTS)]
        whole.stack = traceback.StackSummary.from_list(ours)
        parts += [*whole.format(chain=False), repr(vars(link)), repr(link.args)]
    return "\n".join(parts)


def assert_hidden(text: str) -> None:
    for canary in CANARIES:
        assert canary not in text


def echo(text: str) -> bytes:
    return json.dumps(
        {"detail": [{"loc": ["body", "secret"], "msg": f"not {text}!", "type": "x", "input": text}]}
    ).encode()


CREATED = {"uuid": "u", "url": URL, "enabled_events": ["*"], "secret": SECRET}
FAULTS: dict[str, bytes | None] = {
    "refused": http(400, b'{"message": "no"}'),
    "the secret is quoted": http(422, echo(SECRET)),
    "the key is quoted": http(401, json.dumps({"message": f"{KEY} is unknown"}).encode()),
    "the header is quoted": http(403, f"no: Basic {BASIC}".encode()),
    "the request is quoted whole": http(400, json.dumps(CREATED).encode()),
    "the secret in a page": http(502, f"<html>{SECRET}</html>".encode()),
    "an errors list": http(400, json.dumps({"errors": [{"msg": SECRET, "loc": KEY}]}).encode()),
    "Karla's secret in broken JSON": http(200, json.dumps(CREATED)[:-1].encode()),
    "Karla's secret in a list": http(200, json.dumps([CREATED]).encode()),
    "Karla's secret, and no uuid": http(200, json.dumps({**CREATED, "uuid": None}).encode()),
    "cut": http(200, json.dumps(CREATED).encode())[:-20],
    "not gzip": http(200, SECRET.encode(), "Content-Encoding: gzip"),
    "no answer": b"",
    "no HTTP": f"{SECRET[:0]}HELLO\r\n\r\n".encode(),
    "nothing in time": None,
}


@pytest.mark.parametrize("answer", FAULTS.values(), ids=FAULTS)
def test_no_failed_call_shows_a_secret(
    answer: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="")
    timeout = 0.5 if answer is None else PATIENCE_SECONDS
    with (
        serving(answer) as (address, requests),
        client(environ_of(address, KARLA_API_KEY=KEY), timeout=timeout) as api,
        pytest.raises(RegistrationError) as failure,
    ):
        api.create(URL, secret=SECRET)
    told = report(failure.value)

    assert BASIC.encode() in requests[0]
    assert SECRET.encode() in requests[0]
    assert "karla_receiver/registration" in told
    assert_hidden(told)
    assert_hidden(caplog.text)
    assert_hidden(str(pickle.dumps(failure.value)))
    assert str(pickle.loads(pickle.dumps(failure.value))) == str(failure.value)  # noqa: S301


def test_what_was_quoted_is_marked() -> None:
    with (
        serving(FAULTS["the secret is quoted"]) as (address, _),
        client(environ_of(address)) as api,
        pytest.raises(RegistrationError, match=r"body\.secret: not <secret>!"),
    ):
        api.create(URL, secret=SECRET)


def test_nobody_there_shows_no_secret() -> None:
    environ = environ_of("127.0.0.1:9", KARLA_API_KEY=KEY)
    with client(environ) as api, pytest.raises(RegistrationError) as failure:
        api.create(URL, secret=SECRET)
    assert_hidden(report(failure.value))


def used_closed() -> None:
    api = KarlaAPI("nordwind", KEY)
    api.close()
    api.create(URL, secret=SECRET)


MISUSES: dict[str, Callable[[], Any]] = {
    "a key with a newline": lambda: KarlaAPI("nordwind", KEY + "\n"),
    "a key that is bytes": lambda: KarlaAPI("nordwind", KEY.encode()),  # type: ignore[arg-type]
    "a surrogate in the key": lambda: KarlaAPI("nordwind", KEY + "\ud800"),
    "a bad slug": lambda: KarlaAPI("..", KEY),
    "a bad name": lambda: KarlaAPI("nordwind", KEY, username="a:b"),
    "a bad address": lambda: KarlaAPI("nordwind", KEY, base_url="http://api.example"),
    "a bad option": lambda: KarlaAPI("nordwind", KEY, timeout=-1),
    "the environment": lambda: KarlaAPI.from_env({"KARLA_API_KEY": KEY}),
    "the environment, a bad key": lambda: KarlaAPI.from_env(
        {"KARLA_API_KEY": KEY + " ", "KARLA_SHOP_SLUG": "nordwind"}
    ),
    "a secret too long": lambda: KarlaAPI("nordwind", KEY).create(URL, secret=SECRET * 3),
    "a secret with a newline": lambda: KarlaAPI("nordwind", KEY).create(URL, secret=SECRET + "\n"),
    "a bad URL": lambda: KarlaAPI("nordwind", KEY).create("http://x", secret=SECRET),
    "a bad event": lambda: KarlaAPI("nordwind", KEY).create(
        URL, secret=SECRET, enabled_events=["shipment"]
    ),
    "a closed client": used_closed,
}


@pytest.mark.parametrize("misuse", MISUSES.values(), ids=MISUSES)
def test_no_misuse_shows_a_secret(misuse: Callable[[], Any]) -> None:
    with pytest.raises(ConfigurationError) as failure:
        misuse()
    told = report(failure.value)
    assert "karla_receiver/registration" in told
    assert_hidden(told)


def test_the_canaries_would_be_found() -> None:
    namespace: dict[str, Any] = {"KarlaReceiverError": KarlaReceiverError}
    program = "def careless(key):\n    raise KarlaReceiverError('careless')\n"
    exec(compile(program, "elsewhere.py", "exec"), namespace)  # noqa: S102 - a frame that is no test's
    with pytest.raises(KarlaReceiverError) as failure:
        namespace["careless"](KEY)
    assert KEY in report(failure.value)


HOLDERS: dict[str, Callable[[], Any]] = {
    "secret": lambda: Secret(SECRET),
    "client": lambda: KarlaAPI("nordwind", KEY),
    "credentials": lambda: credentials_in({"KARLA_API_KEY": KEY, "KARLA_SHOP_SLUG": "nordwind"}),
    "webhook": lambda: Webhook(uuid="u", url=URL, enabled_events=(), secret=Secret(SECRET)),
}


@pytest.mark.parametrize("make", HOLDERS.values(), ids=HOLDERS)
def test_nothing_that_holds_a_secret_shows_it(make: Callable[[], Any]) -> None:
    holder = make()
    parts = ("_transport", "_hidden", "hidden", "api_key", "secret")
    for part in [holder, *(getattr(holder, name, None) for name in parts)]:
        assert_hidden(repr(part))
        assert_hidden(str(part))
    if not isinstance(holder, Secret):
        assert_hidden(shown(holder))


def test_a_secret_is_given_on_request_and_only_then() -> None:
    secret = Secret(SECRET)
    assert secret.reveal() == SECRET
    assert secret == Secret(SECRET)
    assert secret != Secret(KEY)
    assert secret != SECRET
    assert len({secret, Secret(SECRET), Secret(KEY)}) == 2
    assert f"{secret} {secret!r}" == "<Secret> <Secret>"
    for show in (pickle.dumps, json.dumps, msgspec.json.encode):
        with pytest.raises(TypeError):
            show(secret)


def test_a_fake_karla_shows_none_either(karla: FakeKarla) -> None:
    with client(karla.environ) as api:
        api.create(URL, secret=SECRET)
    assert_hidden(repr(karla.webhooks))
    assert_hidden(repr(karla))


def test_credentials_name_what_they_are() -> None:
    credentials = Credentials(shop_slug="nordwind", api_key=Secret(KEY), username="key-1")
    assert "shop_slug='nordwind'" in repr(credentials)
    assert "username='key-1'" in repr(credentials)
    assert [each.reveal() for each in credentials.hidden][:1] == [KEY]
