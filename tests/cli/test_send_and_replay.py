from __future__ import annotations

import json
import re
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from karla_receiver import ConfigurationError, Reason, parse_event
from karla_receiver.cli import sending
from karla_receiver.cli.addresses import checked_url
from karla_receiver.cli.content import changed
from karla_receiver.cli.deliveries import NamedDelivery
from karla_receiver.cli.exchange import Exchange
from karla_receiver.cli.recording import Recorded, Recorder
from karla_receiver.cli.reporting import report
from karla_receiver.cli.sending import Maker, deliver_all
from karla_receiver.testing.deliveries import BadKind, Delivery
from tests.cli.endpoint import Endpoint, endpoints
from tests.cli.running import run, started
from tests.ports import reserved_port
from tests.signing import BODY, SECRET

DEEP = b'{"a":' * 100_000 + b"1" + b"}" * 100_000

# What a receiver without handlers refuses each kind of bad delivery for.
REASONS = {
    BadKind.FORGED: Reason.SIGNATURE_MISMATCH,
    BadKind.ALTERED: Reason.SIGNATURE_MISMATCH,
    BadKind.RESERIALISED: Reason.SIGNATURE_MISMATCH,
    BadKind.LATE: Reason.TIMESTAMP_TOO_OLD,
    BadKind.REDATED: Reason.SIGNATURE_MISMATCH,
    BadKind.EARLY: Reason.TIMESTAMP_IN_FUTURE,
    BadKind.UNSIGNED: Reason.MISSING_SIGNATURE,
    BadKind.MALFORMED_HEADER: Reason.MALFORMED_HEADER,
    BadKind.ONLY_V0: Reason.NO_V1,
    BadKind.OVERSIZED: Reason.BODY_TOO_LARGE,
    BadKind.GET: Reason.METHOD_NOT_ALLOWED,
    BadKind.NOT_JSON: Reason.INVALID_JSON,
    BadKind.NOT_AN_OBJECT: Reason.INVALID_ENVELOPE,
    BadKind.WITHOUT_EVENT_GROUP: Reason.INVALID_ENVELOPE,
}


@contextmanager
def answering(status: int, body: bytes = b"", kind: str = "text/plain") -> Generator[str]:
    """Serve an endpoint that gives one answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://localhost:{server.server_port}/karla"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def endpoint() -> Generator[Endpoint]:
    with endpoints() as endpoint:
        yield endpoint


def test_a_sample_is_signed_and_sent_as_it_is(endpoint: Endpoint) -> None:
    with endpoint() as (url, seen):
        sent = run("send", "--to", url)

    assert sent.status == 0
    assert sent.output.startswith("ok shipment_delivered: 200 in ")
    (one,) = seen
    assert one.delivery.body == BODY
    assert dict(one.delivery.headers)["content-type"] == "application/json"


def test_a_file_and_standard_input_are_sent_byte_for_byte(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    body = b'{"event_group": "x"}\r\n'
    (tmp_path / "body").write_bytes(body)
    with endpoint() as (url, seen):
        assert run("send", tmp_path / "body", "--to", url).status == 0
        assert run("send", "-", "--to", url, stdin=body).status == 0
    assert [each.delivery.body for each in seen] == [body, body]


def test_values_are_set_before_signing(endpoint: Endpoint) -> None:
    with endpoint() as (url, seen):
        sent = run(
            "send",
            "--to",
            url,
            "--set=context.order.order_number=NT-\u00d6",
            "--set=context.order.products.1.quantity=7",
            "--set=shop_slug=",
        )
    assert sent.status == 0
    event = parse_event(seen[0].delivery.body)
    assert event.order_number == "NT-\u00d6"
    assert event.raw["context"]["order"]["products"][1]["quantity"] == 7
    assert event.raw["shop_slug"] == ""


def test_many_are_sent_several_at_a_time_and_summed_up(endpoint: Endpoint) -> None:
    with endpoint() as (url, seen):
        sent = run("send", "--to", url, "--count", "30", "--concurrency", "4")
    first, second = sent.output.splitlines()

    assert (sent.status, len(seen)) == (0, 30)
    assert first == "ok 30 x shipment_delivered: 200"
    assert second.startswith("30 in ")
    assert " a second; ms: median " in second


def test_answers_may_be_had_as_json(endpoint: Endpoint) -> None:
    with endpoint() as (url, _):
        *answers, summary = run("send", "--to", url, "--count", "2", "--json").lines

    assert [each.pop("milliseconds") > 0 for each in answers] == [True, True]
    assert answers == 2 * [
        {
            "type": "answer",
            "name": "shipment_delivered",
            "label": None,
            "status": 200,
            "reason": None,
            "problem": None,
            "is_right": True,
        }
    ]
    assert summary.pop("seconds") > 0
    assert set(summary.pop("milliseconds")) == {"median", "p90", "p99", "max"}
    assert summary == {"type": "summary", "answers": 2, "wrong": 0}


@pytest.mark.parametrize(("bad", "reason"), REASONS.items())
def test_what_is_made_bad_is_refused_for_it_and_that_is_right(
    endpoint: Endpoint, bad: BadKind, reason: Reason
) -> None:
    with endpoint() as (url, seen):
        sent = run("send", "claim_created", "--to", url, "--bad", bad)
    assert sent.status == 0
    assert [each.delivery.reason for each in seen] == [reason]


def test_every_kind_of_bad_delivery_is_tried() -> None:
    assert list(REASONS) == list(BadKind)


def test_only_one_thing_is_made_wrong_at_a_time() -> None:
    wrong = run("send", "--bad", "forged", "--bad", "late")
    assert (wrong.status, wrong.output) == (2, "")
    assert "--bad makes one thing wrong: give it once" in wrong.told


def test_a_bad_delivery_that_is_accepted_is_wrong() -> None:
    with answering(200) as url:
        sent = run("send", "--to", url, "--bad", "forged")
    assert sent.status == 1
    assert sent.output.startswith("!! forged: 200 in ")


@pytest.mark.parametrize("status", [204, 302, 404, 405, 409, 429, 500, 501, 502, 503])
def test_only_a_refusal_is_the_right_answer_to_a_bad_delivery(status: int) -> None:
    with answering(status) as url:
        sent = run("send", "--to", url, "--bad", "forged")
    assert sent.status == 1
    assert sent.output.startswith(f"!! forged: {status} in ")


@pytest.mark.parametrize("status", [400, 401, 403, 411, 413, 414, 431])
def test_whatever_refuses_a_bad_delivery_is_right(status: int) -> None:
    with answering(status) as url:
        assert run("send", "--to", url, "--bad", "forged").status == 0


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_method_that_is_not_served_is_refused_by_that(status: int) -> None:
    with answering(status) as url:
        assert run("send", "--to", url, "--bad", "get").status == 0


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"reason": "handler_error"}', " handler_error"),
        (b'{"reason": 5}', ""),
        (b'{"reason": "\\u001b[31m"}', ""),
        (b"[]", ""),
        (b"not json", ""),
    ],
)
def test_a_genuine_delivery_that_is_refused_is_wrong(body: bytes, reason: str) -> None:
    with answering(500, body, "application/problem+json") as url:
        sent = run("send", "--to", url)
    assert sent.status == 1
    assert sent.output.startswith(f"!! shipment_delivered: 500{reason} in ")


def test_any_other_success_than_200_is_no_acknowledgement() -> None:
    with answering(204) as url:
        assert run("send", "--to", url).status == 1


def test_where_nobody_answers_it_says_so() -> None:
    with reserved_port() as port:
        url = f"http://127.0.0.1:{port}/"
        sent = run("send", "--to", url)
    assert sent.status == 1
    assert sent.output.startswith(
        f"!! shipment_delivered: nothing listens at {url}: start `karla-receiver listen`, or check"
        " --to\n"
    )


def test_another_failure_to_connect_is_told_as_it_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"

        def hang_up() -> None:
            silent.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        sent = run("send", "--to", url)
        thread.join()
    assert sent.status == 1
    assert re.match("!! shipment_delivered: (RemoteProtocol|Read)Error: ", sent.output)
    assert " ms" not in sent.output


def test_what_cannot_be_made_any_more_ends_it() -> None:
    def fail() -> NamedDelivery:
        raise ConfigurationError("no more of them")

    with pytest.raises(ConfigurationError, match="no more of them"):
        deliver_all([fail] * 3, "http://127.0.0.1:1/", concurrency=2, as_json=False)


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:1/x", "http://localhost/", "https://[::1]/", "http://127.9.9.9/\xf6 %"],
)
def test_this_machine_may_be_delivered_to(url: str) -> None:
    assert checked_url(url, allow_remote=False) == url


@pytest.mark.parametrize(
    "url",
    [
        "https://shop.example/x",
        "http://192.0.2.1/",
        "http://localhost.example/",
        "http://shop.localhost/",
    ],
)
def test_other_machines_only_if_that_is_meant(url: str) -> None:
    with pytest.raises(ConfigurationError, match="add --allow-remote"):
        checked_url(url, allow_remote=False)
    assert checked_url(url, allow_remote=True) == url
    assert "leads to another machine" in run("send", "--to", url).told


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:80",
        "ftp://localhost/",
        "http://",
        "http://x:y/",
        "http://localhost:0/",
        "http://[::1",
        "http://127.0.0.1:1/a\tb",
        "http://127.0.0.1:1/\udcff",
        "http://..localhost:1/x",
        f"http://{'a' * 64}.localhost/",
        "http://-\xfc.example/",
        f"http://localhost/{'a' * 70_000}",
        "http://127.0.0.1:1/\x7f",
    ],
)
def test_what_is_no_url_is_told(url: str) -> None:
    with pytest.raises(ConfigurationError, match="no URL to deliver to"):
        checked_url(url, allow_remote=True)
    assert run("send", "--to", url).status == 2


WRONG_SETTINGS = {
    "no value": ("shop_slug", "takes path=value, not 'shop_slug'"),
    "no path": ("=x", "takes path=value"),
    "nowhere": ("context.nothing.x=1", "there is no 'nothing'"),
    "no place in a list": ("context.order.products.x.sku=1", "there is no 'x'"),
    "past a list's end": ("context.order.products.9=1", "there is no '9'"),
    "within a text": ("shop_slug.x=1", "there is no 'x'"),
    "a lone surrogate": ('shop_slug="\\ud800"', "no form in UTF-8"),
    "no text": ("shop_slug=\udcff", "no form in UTF-8"),
    "nested too deeply": (f"shop_slug={'[' * 3000}", "nested too deeply"),
}


@pytest.mark.parametrize(("setting", "message"), WRONG_SETTINGS.values(), ids=WRONG_SETTINGS)
def test_a_setting_that_leads_nowhere_is_told(setting: str, message: str) -> None:
    wrong = run("send", f"--set={setting}")
    assert wrong.status == 2
    assert message in wrong.told


def test_without_settings_the_bytes_stay() -> None:
    assert changed(b"not json", []) == b"not json"
    with pytest.raises(ConfigurationError, match="needs a body that is JSON"):
        changed(b"not json", ["a=1"])


def test_a_body_that_is_nested_too_deeply_cannot_be_changed() -> None:
    wrong = run("send", "-", "--set", "a=b", stdin=DEEP)
    assert wrong.status == 2
    assert "nested too deeply" in wrong.told


@pytest.mark.parametrize("body", [b"not json", b"[]", DEEP])
def test_what_is_no_object_cannot_be_made_bad(body: bytes) -> None:
    wrong = run("send", "-", "--bad", "without_event_group", stdin=body)
    assert wrong.status == 2
    assert "a bad delivery is made from a good event" in wrong.told or "nested" in wrong.told


def test_a_secret_that_cannot_sign_is_told_before_anything_is_sent() -> None:
    wrong = run("send", secret="secret ")
    assert (wrong.status, wrong.output) == (2, "")


def test_progress_is_shown_to_a_terminal_alone(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def terminal(**options: object) -> Console:
        return Console(stderr=True, force_terminal=True, width=80)

    monkeypatch.setattr("karla_receiver.cli.sending.Console", terminal)
    with endpoint() as (url, _):
        shown = run("send", "--to", url, "--count", "3")
        hidden = run("send", "--to", url, "--count", "3", "--json")
    assert "Delivering" in shown.errors
    assert hidden.errors == ""


def test_answers_of_several_kinds_are_counted_apart(capsys: pytest.CaptureFixture[str]) -> None:
    it = NamedDelivery(name="it", sent="it", request=Delivery())

    def answer(status: int, seconds: float) -> Exchange:
        return Exchange(delivery=it, status=status, seconds=seconds)

    answers = [answer(200, 0.001 * number) for number in range(1, 100)] + [answer(500, 5)]
    assert not report(answers, seconds=10, as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "ok 99 x it: 200",
        "!! 1 x it: 500",
        "100 in 10.00 s, 10 a second; ms: median 51.0, p90 91.0, p99 5000.0, max 5000.0",
    ]


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "deliveries.jsonl"
    recorder = Recorder(path, 9)
    old = ("karla-signature", "t=1,v1=00")
    bodies = (BODY, b'{"event_group":"x"}\n', b"not json")
    for body, reason in zip(bodies, (None, "timestamp_too_old", "invalid_json"), strict=True):
        headers = [old, ("content-type", "application/x"), ("x-other", "1")]
        recorder.add(Recorded(received_at=1, headers=headers, body=body, reason=reason))
    recorder.add(Recorded(received_at=1, headers=[], body=BODY))
    return path


def test_what_was_recorded_is_delivered_under_fresh_signatures(
    endpoint: Endpoint, recording: Path
) -> None:
    with endpoint() as (url, seen):
        replayed = run("replay", recording, "--to", url)

    assert replayed.status == 0
    assert [(each.delivery.body, each.delivery.reason) for each in seen] == [(BODY, None)] * 2
    kinds = Counter(dict(each.delivery.headers)["content-type"] for each in seen)
    assert kinds == {"application/x": 1, "application/json": 1}
    assert replayed.output.splitlines()[:1] == ["ok 2 x delivery: 200"]


def test_what_was_refused_is_not_made_genuine_unless_that_is_asked_for(
    endpoint: Endpoint, recording: Path
) -> None:
    with endpoint() as (url, seen):
        told = run("replay", recording, "--to", url).told
        one = run("replay", recording, "--line", "2", "--to", url)
    assert told == "2 deliveries were refused, and left out"
    assert BODY in {each.delivery.body for each in seen}
    assert b"not json" not in {each.delivery.body for each in seen}
    assert (one.status, one.output) == (2, "")
    assert "1 delivery was refused, and may be forged: --refused signs and sends" in one.told


def test_one_line_of_a_recording_may_be_replayed(endpoint: Endpoint, recording: Path) -> None:
    content = b"\n" + recording.read_bytes()
    with endpoint() as (url, seen):
        assert run("replay", "-", "--line", "2", "--to", url, stdin=content).status == 0
        refused = run("replay", "-", "--line=4", "--refused", "--json", "--to", url, stdin=content)
        assert run("replay", "-", "--line", "1", "--to", url, stdin=content).status == 2
    assert [each.delivery.body for each in seen] == [BODY, b"not json"]
    assert refused.lines[0]["label"] == "4"


def test_a_replay_for_programs_has_the_numbers_of_the_file(
    endpoint: Endpoint, recording: Path
) -> None:
    with endpoint() as (url, _):
        *accepted, _ = run("replay", recording, "--to", url, "--json").lines
        *refused, summary = run("replay", recording, "--refused", "--to", url, "--json").lines
    assert [each["name"] for each in refused] == ["delivery"] * 2
    assert [each["label"] for each in accepted] == ["1", "4"]
    assert [each["label"] for each in refused] == ["2", "3"]
    assert summary["wrong"] == 1


def test_of_many_wrong_answers_the_first_numbers_are_named(endpoint: Endpoint) -> None:
    one = Recorded(received_at=1, headers=[], body=b"not json")
    with endpoint() as (url, _):
        lines = [msgspec.json.encode(one)] * 12
        replayed = run("replay", "-", "--to", url, stdin=b"\n".join(lines))
    assert replayed.output.splitlines()[0] == (
        "!! 12 x delivery: 400 invalid_json (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, ...)"
    )


def test_a_recorded_content_type_is_sent_as_the_bytes_it_was(endpoint: Endpoint) -> None:
    headers = [("content-type", "application/x; note=\xe9")]
    one = Recorded(received_at=1, headers=headers, body=b"{}")
    with endpoint() as (url, seen):
        run("replay", "-", "--to", url, stdin=msgspec.json.encode(one))
    assert dict(seen[0].delivery.headers)["content-type"] == "application/x; note=\xe9"


@pytest.mark.parametrize(
    "changes",
    [
        {"headers": [["content-type", "\u20ac"]]},
        {"headers": [["\u20ac", ""]]},
        {"method": "P\xd6ST"},
    ],
)
def test_what_no_request_can_have_had_is_no_recording(changes: dict[str, Any]) -> None:
    one = Recorded(received_at=1, headers=[], body=b"{}")
    wrong = run("replay", "-", stdin=json.dumps({**msgspec.to_builtins(one), **changes}).encode())
    assert wrong.status == 2
    assert "line 1 is no recorded delivery" in wrong.told


def test_only_what_was_refused_may_be_replayed(endpoint: Endpoint, recording: Path) -> None:
    with endpoint() as (url, seen):
        run("replay", "-", "--refused", "--to", url, stdin=recording.read_bytes())
    assert [each.delivery.body for each in seen] == [b'{"event_group":"x"}\n', b"not json"]


def test_where_nothing_was_refused_nothing_is_replayed(recording: Path) -> None:
    lines = recording.read_bytes().splitlines(keepends=True)
    replayed = run("replay", "-", "--refused", stdin=lines[0])
    assert replayed == (0, "", "none of the recorded deliveries was refused\n")


def test_wrong_use_of_replay_is_told(recording: Path) -> None:
    assert run("replay").status == 2
    for arguments, secret, message in (
        (["nothing.jsonl"], SECRET, "nothing.jsonl: No such file"),
        (["-"], SECRET, "- is empty"),
        ([recording], None, "no secret"),
        ([recording], " ", "empty or blank"),
        ([recording, "--to=http://192.0.2.1"], SECRET, "--allow-remote"),
    ):
        wrong = run("replay", *arguments, secret=secret)
        assert (wrong.status, wrong.output) == (2, "")
        assert message in wrong.told


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot be sent Ctrl-C alone")
def test_an_interrupt_stops_sending_quietly() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        arguments = ("send", "--to", url, "--count", "10000", "--concurrency", "2")
        with started(*arguments, KARLA_WEBHOOK_SECRET=SECRET) as process:
            connections = [silent.accept()[0] for _ in range(2)]
            interrupted = time.monotonic()
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=60)
            seconds = time.monotonic() - interrupted
            for connection in connections:
                connection.close()
    assert process.returncode == 130
    assert (output, errors) == ("", "")
    assert seconds < 12  # the answers under way, which never come, would be waited 15 for


def test_an_answer_that_takes_longer_than_a_wait_is_waited_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sending, "_WAIT_SECONDS", 0.001)

    def deliver(make: Maker) -> Exchange | None:
        time.sleep(0.05)
        return None

    answers = sending._exchanges(deliver, [lambda: None], 1)  # pyright: ignore[reportPrivateUsage]
    assert list(answers) == [None]


def test_a_body_that_is_set_stays_as_readable_as_json_is() -> None:
    assert changed(b'{"a": "\xc3\xb6"}', ['b={"c": [1]}']) == '{"a":"ö","b":{"c":[1]}}'.encode()
    assert json.loads(changed(b"{}", ["a=01"])) == {"a": "01"}


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (301, "Karla follows no redirect: "),
        (308, "Karla follows no redirect: "),
        (401, "Is KARLA_WEBHOOK_SECRET the app's secret? To see why: run `karla-receiver listen "),
        (404, "Nothing is served there: is the path"),
        (405, "Nothing there takes a POST: "),
    ],
)
def test_a_wrong_answer_comes_with_what_it_usually_means(status: int, hint: str) -> None:
    with answering(status) as url:
        sent = run("send", "--to", url, "--count", "2")
    assert sent.status == 1
    assert sent.output.count(hint) == 1


def test_a_wrong_answer_that_says_nothing_comes_without_a_hint() -> None:
    with answering(500) as url:
        assert len(run("send", "--to", url).output.splitlines()) == 1


def test_a_url_in_the_place_of_the_content_is_told_where_it_goes() -> None:
    for command in ("send", "sign"):
        wrong = run(command, "http://localhost:5055/webhooks/karla", secret=None)
        assert wrong.status == 2
    assert "a URL goes after --to" in run("send", "http://localhost:5055/x", secret=None).told


def test_a_sample_that_is_mistyped_is_guessed() -> None:
    assert "did you mean shipment_delivered?" in run("send", "shipment_deliverd", secret=None).told
    assert "did you mean" not in run("send", "zzzzzzzz").told


def test_the_beginning_of_a_body_is_not_made_a_delivery(endpoint: Endpoint) -> None:
    cut = Recorded(received_at=1, headers=[], body=b"{", is_whole=False, reason="body_too_large")
    whole = msgspec.structs.replace(cut, is_whole=True)
    lines = [msgspec.json.encode(each) for each in (cut, whole)]
    with endpoint() as (url, seen):
        run("replay", "-", "--refused", "--to", url, stdin=b"\n".join(lines))
        alone = run("replay", "-", "--refused", "--to", url, stdin=lines[0])
    assert len(seen) == 1
    assert alone.status == 1
    assert alone.told == "1 delivery was recorded without the end of the body, and left out"


def test_a_delivery_that_is_longer_than_is_recorded_is_recorded_as_cut(endpoint: Endpoint) -> None:
    with endpoint() as (url, seen):
        run("send", "-", "--to", url, stdin=BODY.ljust(3_000_000))
        run("send", "--to", url)
    assert [(each.delivery.is_whole, each.delivery.is_cut) for each in seen] == [
        (False, True),
        (True, False),
    ]
