"""The fake Karla: its API by hand, without our client, and its deliveries to real receivers."""

from __future__ import annotations

import json
import logging
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from itertools import takewhile
from subprocess import PIPE
from typing import Any

import httpx2
import pytest
from pytest_httpserver import HTTPServer
from werkzeug.serving import make_server

from karla_receiver import ConfigurationError, Event, Reason, Receiver, samples, sign
from karla_receiver.adapters.wsgi import KarlaApp
from karla_receiver.registration import KarlaAPI
from karla_receiver.testing.fake_karla import Duplicates, FakeKarla
from tests.ports import reserved_port
from tests.signing import SECRET
from tests.waiting import PATIENCE_SECONDS

URL = "https://shop.example/webhooks/karla"
DELIVERED = samples.read("shipment_delivered")
CLAIM = samples.read("claim_created")
IN_TRANSIT = samples.read("shipment_in_transit")
UNKNOWN = samples.read("unknown_future_event")
PATH = "/v1/shops/nordwind/webhooks"


@pytest.fixture(scope="module")
def server() -> Generator[HTTPServer]:
    with HTTPServer("127.0.0.1", 0) as running:
        yield running


@pytest.fixture
def karla(server: HTTPServer) -> Generator[FakeKarla]:
    server.clear()
    with FakeKarla(server=server) as fake:
        yield fake


# --- the API -------------------------------------------------------------------------------------


def ask(karla: FakeKarla, method: str, path: str = PATH, **options: Any) -> httpx2.Response:
    options.setdefault("auth", ("nordwind", "fake-api-key"))
    with httpx2.Client(trust_env=False) as client:
        return client.request(method, karla.api_url + path, **options)


def test_what_is_created_is_listed_changed_and_deleted(karla: FakeKarla) -> None:
    created = ask(karla, "POST", json={"url": URL}).json()
    (registered,) = karla.webhooks
    assert created["secret"] == registered.secret
    assert created["enabled_events"] == ["*"]
    assert created["status"] == "active"
    assert created["shop_slug"] == "nordwind"

    (listed,) = ask(karla, "GET").json()
    assert listed == {**created, "secret": None}

    changed = ask(karla, "PATCH", f"{PATH}/{created['uuid']}", json={"description": "new"}).json()
    assert changed == {
        **listed,
        "description": "new",
        "updated_at": karla.webhooks[0].updated_at,
    }

    assert ask(karla, "DELETE", f"{PATH}/{created['uuid']}").status_code == 200
    assert karla.webhooks == []


@pytest.mark.parametrize(
    ("auth", "status"),
    [
        (("nordwind", "fake-api-key"), 200),
        (("nordwind", "another"), 401),
        (("another", "fake-api-key"), 401),
        (None, 401),
    ],
)
def test_only_the_credentials_are_let_in(
    auth: tuple[str, str] | None, status: int, karla: FakeKarla
) -> None:
    response = ask(karla, "GET", auth=auth)
    assert response.status_code == status
    if status == 401:
        assert response.headers["www-authenticate"] == "Basic"
        assert response.json()["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/shops/another/webhooks", 403),
        ("GET", "/v1/shops/nordwind/orders", 404),
        ("GET", f"{PATH}/", 404),
        ("PATCH", f"{PATH}/7b0f3e52", 404),
        ("DELETE", f"{PATH}/7b0f3e52", 404),
        ("GET", f"{PATH}/7b0f3e52", 405),
        ("PUT", PATH, 405),
    ],
)
def test_what_is_not_there_has_karlas_error_body(
    method: str, path: str, status: int, karla: FakeKarla
) -> None:
    response = ask(karla, method, path)
    assert response.status_code == status
    assert set(response.json()) == {"type", "key", "message"}
    assert ("allow" in response.headers) is (status == 405)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, None),
        ([], None),
        ({"url": 7}, "url"),
        ({"url": ""}, "url"),
        ({"url": "shop.example"}, "url"),
        ({"url": "https://["}, "url"),
        ({"url": "https://shop.example/".ljust(65_537, "x")}, "url"),
        ({"url": URL, "secret": "x" * 15}, "secret"),
        ({"url": URL, "secret": "x" * 65}, "secret"),
        ({"url": URL, "status": "paused"}, "status"),
        ({"url": URL, "enabled_events": "*"}, "enabled_events"),
    ],
)
def test_a_bad_creation_is_unprocessable_and_quoted(
    body: Any, field: str | None, karla: FakeKarla
) -> None:
    response = ask(karla, "POST", json=body)
    (problem,) = response.json()["detail"]

    assert response.status_code == 422
    assert problem["loc"] == (["body", field] if field else ["body"])
    assert problem["input"] == (body[field] if field else None)
    assert karla.webhooks == []


def test_what_is_not_json_is_unprocessable(karla: FakeKarla) -> None:
    for content in (b"{", b"", b"\xff"):
        assert ask(karla, "POST", content=content).status_code == 422


def test_a_bad_change_is_unprocessable_and_changes_nothing(karla: FakeKarla) -> None:
    before = karla.register(URL)
    for body in ({"url": "no"}, {"status": "paused"}, {"enabled_events": 1}):
        assert ask(karla, "PATCH", f"{PATH}/{before.uuid}", json=body).status_code == 422
    assert ask(karla, "PATCH", f"{PATH}/{before.uuid}", json={"secret": "x" * 16}).is_success
    assert karla.webhooks[0].secret == before.secret


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("", range(30)),
        ("?page=2", range(30, 35)),
        ("?page=3", []),
        ("?per_page=100", range(35)),
        ("?page=4&per_page=10", range(30, 35)),
        ("?status=inactive", []),
        (f"?url={URL}/7", [7]),
    ],
)
def test_the_list_has_pages_and_filters(query: str, numbers: Any, karla: FakeKarla) -> None:
    for number in range(35):
        karla.register(f"{URL}/{number}")
    listed = ask(karla, "GET", PATH + query).json()
    assert [each["url"] for each in listed] == [f"{URL}/{number}" for number in numbers]


@pytest.mark.parametrize(
    "query", ["page=0", "page=x", "per_page=0", "per_page=101", "status=paused", "url="]
)
def test_a_bad_query_is_unprocessable(query: str, karla: FakeKarla) -> None:
    response = ask(karla, "GET", f"{PATH}?{query}")
    name, _, value = query.partition("=")

    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["query", name]
    assert response.json()["detail"][0]["input"] == value


@pytest.mark.parametrize(
    ("duplicates", "status", "count"),
    [
        (Duplicates.ADD, 200, 2),
        (Duplicates.RETURN_EXISTING, 200, 1),
        (Duplicates.REFUSE, 400, 1),
    ],
)
def test_a_url_that_comes_again_is_taken_as_told(
    duplicates: Duplicates, status: int, count: int
) -> None:
    with FakeKarla(duplicates=duplicates) as karla:
        first = ask(karla, "POST", json={"url": URL}).json()
        again = ask(karla, "POST", json={"url": URL})
        assert again.status_code == status
        assert len(karla.webhooks) == count
        if duplicates is Duplicates.RETURN_EXISTING:
            assert again.json() == {**first, "secret": None}


def test_failures_come_as_ordered(karla: FakeKarla) -> None:
    karla.fail_next(503, times=2, body=b"later", headers={"Retry-After": "1"})
    karla.fail_next(502, is_done=True)
    answers = [ask(karla, "POST", json={"url": URL}) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [503, 503, 502, 200]
    assert answers[0].text == "later"
    assert answers[0].headers["retry-after"] == "1"
    assert len(karla.webhooks) == 2
    assert karla.calls == [f"POST {PATH}"] * 4


def test_it_shares_a_server_and_leaves_it_running(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/mine").respond_with_data("mine")
    with FakeKarla(server=httpserver) as karla:
        assert ask(karla, "GET").json() == []
        assert ask(karla, "GET", "/mine").text == "mine"
    assert httpserver.is_running()


def test_its_own_server_is_stopped() -> None:
    before = set(threading.enumerate())
    with FakeKarla() as karla:
        assert ask(karla, "GET").json() == []
        url = karla.api_url
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(url, trust_env=False)
    assert set(threading.enumerate()) <= before  # one of another test may end meanwhile


# --- deliveries ----------------------------------------------------------------------------------


class Clock:
    """Shows unix seconds, and moves on when it is told to wait."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


class Endpoint:
    """A receiver on a port, that fails for as often as it is told."""

    def __init__(self, clock: Clock) -> None:
        self.receiver = Receiver(SECRET, clock=clock)
        self.refs: list[str] = []
        self.failures = 0
        self.url = ""
        self.receiver.on("*")(self._take)

    def _take(self, event: Event) -> None:
        self.refs.append(event.ref or "")
        if self.failures:
            self.failures -= 1
            raise LookupError

    @contextmanager
    def serving(self) -> Generator[None]:
        server = make_server("127.0.0.1", 0, KarlaApp(self.receiver))
        self.url = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def endpoint(clock: Clock) -> Generator[Endpoint]:
    shop = Endpoint(clock)
    with shop.serving():
        yield shop


@pytest.fixture
def sender(server: HTTPServer, clock: Clock, endpoint: Endpoint) -> Generator[FakeKarla]:
    server.clear()
    with FakeKarla(server=server, clock=clock, sleep=clock.sleep) as fake:
        fake.reach(URL, at=endpoint.url)
        yield fake


def refs(*bodies: bytes) -> list[str]:
    return [json.loads(body)["ref"] for body in bodies]


def test_an_event_is_delivered_signed_with_the_webhooks_own_secret(
    sender: FakeKarla, endpoint: Endpoint
) -> None:
    webhook = sender.register(URL, secret=SECRET)
    (sent,) = sender.send(DELIVERED)
    (attempt,) = sent.attempts

    assert endpoint.refs == refs(DELIVERED)
    assert sent.is_acknowledged
    assert (sent.webhook, sent.body) == (webhook, DELIVERED)
    assert (attempt.status, attempt.problem) == (200, "")
    assert attempt.signature == sign(DELIVERED, SECRET, timestamp=1_700_000_000)


def test_an_endpoint_with_another_secret_refuses(sender: FakeKarla, endpoint: Endpoint) -> None:
    sender.register(URL)
    (sent,) = sender.send(DELIVERED)

    assert sent.attempts[0].status == 401
    assert not sent.is_acknowledged
    assert endpoint.refs == []


@pytest.mark.parametrize(
    ("enabled", "wanted"),
    [
        (["*"], [DELIVERED, CLAIM, IN_TRANSIT, UNKNOWN, b"no event"]),
        (["shipments"], [DELIVERED, IN_TRANSIT]),
        (["shipments/delivered"], [DELIVERED]),
        (["shipments/delivered/successfully_delivered"], [DELIVERED]),
        (["shipments/delivered/SUCCESSFULLY"], []),
        (["claims/created", "shipments/in_transit"], [CLAIM, IN_TRANSIT]),
        (["returns"], [UNKNOWN]),
        (["shipment_delivered"], []),
        (["order.shipped"], []),
        (["claims", "claims/created", "*"], [DELIVERED, CLAIM, IN_TRANSIT, UNKNOWN, b"no event"]),
        ([], []),
    ],
)
def test_only_enabled_events_are_delivered(
    enabled: list[str], wanted: list[bytes], sender: FakeKarla
) -> None:
    sender.register(URL, enabled_events=enabled, secret=SECRET)
    sent = sender.send(DELIVERED, CLAIM, IN_TRANSIT, UNKNOWN, b"no event")
    assert [each.body for each in sent] == wanted


def test_an_inactive_webhook_gets_nothing(sender: FakeKarla) -> None:
    sender.register(URL, status="inactive")
    assert sender.send(DELIVERED) == []


def test_what_is_not_acknowledged_is_retried_and_signed_anew(
    sender: FakeKarla, endpoint: Endpoint, clock: Clock
) -> None:
    sender.register(URL, secret=SECRET)
    endpoint.failures = 2
    (sent,) = sender.send(DELIVERED, attempts=5, wait=3600)

    assert [attempt.status for attempt in sent.attempts] == [500, 500, 200]
    assert [attempt.timestamp - 1_700_000_000 for attempt in sent.attempts] == [0, 3600, 7200]
    assert len({attempt.signature for attempt in sent.attempts}) == 3
    assert clock.waits == [3600, 3600]
    assert endpoint.refs == refs(DELIVERED) * 3


def test_a_retry_with_the_old_signature_is_too_late(
    sender: FakeKarla, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    sender.register(URL, secret=SECRET)
    endpoint.failures = 1
    caplog.set_level(logging.WARNING, logger="karla_receiver")
    (sent,) = sender.send(DELIVERED, attempts=2, wait=301, renew=False)

    assert [attempt.status for attempt in sent.attempts] == [500, 401]
    assert len({attempt.signature for attempt in sent.attempts}) == 1
    reasons = [getattr(record, "reason", None) for record in caplog.records]
    assert reasons == [Reason.HANDLER_ERROR, Reason.TIMESTAMP_TOO_OLD]


@pytest.mark.parametrize(("delay", "status"), [(300, 200), (301, 401)])
def test_a_delivery_may_be_late(delay: float, status: int, sender: FakeKarla) -> None:
    sender.register(URL, secret=SECRET)
    (sent,) = sender.send(DELIVERED, delay=delay)
    assert sent.attempts[0].status == status


def test_a_delivery_that_fails_for_ever_is_given_up(sender: FakeKarla, endpoint: Endpoint) -> None:
    sender.register(URL, secret=SECRET)
    endpoint.failures = 9
    (sent,) = sender.send(DELIVERED, attempts=3)
    assert [attempt.status for attempt in sent.attempts] == [500] * 3
    assert not sent.is_acknowledged


def test_others_go_on_while_one_waits_for_its_retry(sender: FakeKarla, endpoint: Endpoint) -> None:
    sender.register(URL, secret=SECRET)
    endpoint.failures = 1
    sender.send(DELIVERED, CLAIM, attempts=2)
    assert endpoint.refs == refs(DELIVERED, CLAIM, DELIVERED)


@pytest.mark.parametrize(
    "options",
    [
        {"attempts": 0},
        {"attempts": 1.5},
        {"copies": 0},
        {"copies": 1.5},
        {"copies": True},
        {"wait": -1},
        {"wait": float("nan")},
        {"delay": -1},
        {"delay": float("inf")},
    ],
)
def test_options_of_sending_that_cannot_work_are_refused(
    options: dict[str, Any], sender: FakeKarla
) -> None:
    (name,) = options
    with pytest.raises(ConfigurationError, match=f"^{name} is a "):
        sender.send(DELIVERED, **options)


def test_copies_and_any_order_can_be_had(sender: FakeKarla, endpoint: Endpoint) -> None:
    sender.register(URL, secret=SECRET)
    sender.send(DELIVERED, CLAIM, IN_TRANSIT, copies=2, shuffle=1)
    once = list(endpoint.refs)
    endpoint.refs.clear()
    sender.send(DELIVERED, CLAIM, IN_TRANSIT, copies=2, shuffle=1)

    in_order = refs(DELIVERED, DELIVERED, CLAIM, CLAIM, IN_TRANSIT, IN_TRANSIT)
    assert endpoint.refs == once
    assert sorted(once) == sorted(in_order)
    assert once != in_order


def test_an_endpoint_that_is_not_there_is_a_failed_attempt(
    sender: FakeKarla, httpserver: HTTPServer
) -> None:
    sender.register("http://127.0.0.1:9/nobody")
    (sent,) = sender.send(DELIVERED)
    assert sent.attempts[0].status is None
    assert sent.attempts[0].problem.startswith("ConnectError: ")


@pytest.mark.parametrize("url", [URL + "/2", "https://10.0.0.1/", "https://127.0.0.1.example/"])
def test_nothing_leaves_this_machine_by_accident(url: str, sender: FakeKarla) -> None:
    sender.register(URL, secret=SECRET)
    sender.register(url)
    with pytest.raises(ConfigurationError, match=r"with reach\(url, at=\.\.\.\)"):
        sender.send(DELIVERED)


def test_localhost_is_this_machine(sender: FakeKarla, endpoint: Endpoint) -> None:
    sender.register(endpoint.url.replace("127.0.0.1", "localhost"), secret=SECRET)
    assert sender.send(DELIVERED)[0].is_acknowledged


def test_an_event_may_be_an_object_or_have_a_body(sender: FakeKarla, endpoint: Endpoint) -> None:
    class Built:
        body = DELIVERED

    sender.register(URL, secret=SECRET)
    sent = sender.send({"event_group": "claim_created", "ref": "claims/created"}, Built())
    assert [each.body for each in sent] == [
        b'{"event_group":"claim_created","ref":"claims/created"}',
        DELIVERED,
    ]
    assert endpoint.refs == ["claims/created", *refs(DELIVERED)]


def test_a_text_is_no_body(sender: FakeKarla) -> None:
    with pytest.raises(TypeError):
        sender.send("text")  # type: ignore[arg-type]


def test_no_proxy_of_the_environment_is_used(
    sender: FakeKarla, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    sender.register(URL, secret=SECRET)
    assert sender.send(DELIVERED)[0].is_acknowledged


def is_export(line: str) -> bool:
    return line.startswith("export ")


PROGRAM = [sys.executable, "-m", "karla_receiver.testing.fake_karla"]


@pytest.mark.slow
def test_as_a_program_it_explains_itself() -> None:
    ended = subprocess.run([*PROGRAM, "--help"], capture_output=True, text=True, check=True)
    assert "usage: python -m karla_receiver.testing.fake_karla [-h] [--port PORT]" in ended.stdout
    assert "Exit status: 0" in ended.stdout


@pytest.mark.slow
@pytest.mark.parametrize("port", ["70000", "-1", "x", "taken"])
def test_as_a_program_it_refuses_a_port_that_it_cannot_have(port: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        given = port.replace("taken", str(taken.getsockname()[1]))
        arguments = [*PROGRAM, "--port", given]
        ended = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert f"port {given}: " in ended.stderr or "invalid int value: 'x'" in ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--port"]])
def test_as_a_program_it_says_how_to_reach_it_and_ends_quietly(options: list[str]) -> None:
    with (
        reserved_port() as port,
        subprocess.Popen(
            [*PROGRAM, *options, *(str(port) for _ in options)],
            stdout=PIPE,
            stderr=PIPE,
            text=True,
        ) as running,
    ):
        assert running.stdout is not None
        lines = list(takewhile(is_export, running.stdout))
        exported = dict(shlex.split(line)[1].split("=", 1) for line in lines)
        assert exported["KARLA_API_URL"].endswith(f":{port}") == bool(options)
        with KarlaAPI.from_env(exported) as api:
            assert list(api.webhooks()) == []
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=PATIENCE_SECONDS)
    assert running.returncode == 0
    assert errors.count("\n") == 1, "more than the call"
    assert '"GET /v1/shops/nordwind/webhooks?' in errors


WITHOUT = """
import runpy, sys
sys.modules[{library!r}] = None
{rest}
"""
AS_A_PROGRAM = "runpy.run_module('karla_receiver.testing.fake_karla', run_name='__main__')"
AS_A_MODULE = "import karla_receiver.testing.fake_karla"


@pytest.mark.slow
@pytest.mark.parametrize("library", ["httpx2", "pytest_httpserver"])
@pytest.mark.parametrize(("rest", "status"), [(AS_A_PROGRAM, 2), (AS_A_MODULE, 1)])
def test_without_its_extra_it_says_how_to_install_it(library: str, rest: str, status: int) -> None:
    command = [sys.executable, "-c", WITHOUT.format(library=library, rest=rest)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == status
    before, _, told = run.stderr.rpartition("ModuleNotFoundError: ")
    assert told == f"{library} is missing: pip install 'karla-receiver[testing]'\n"
    assert (before == "") is (status == 2)
