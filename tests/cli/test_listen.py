from __future__ import annotations

import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from karla_receiver import Reason, sign
from karla_receiver.cli.addresses import webhook_url
from karla_receiver.cli.recording import decoded
from tests.cli.running import Run, run, started, when_listening
from tests.ports import reserved_port
from tests.signing import BODY, SECRET, signature_header


def post(url: str, body: bytes = BODY, *, secret: str = SECRET) -> httpx2.Response:
    headers = signature_header(body, secret)
    return httpx2.post(url, content=body, headers=headers, trust_env=False)


def while_listening(
    visit: Callable[[str], object], *arguments: str | Path, secret: str | None = SECRET
) -> Run:
    """Run `listen` in this process, and visit it from a thread."""

    def go() -> None:
        when_listening(port).close()
        visit(f"http://127.0.0.1:{port}/webhooks/karla")

    with reserved_port() as port:
        visitor = threading.Thread(target=go)
        visitor.start()
        try:
            return run("listen", "--port", str(port), *arguments, secret=secret)
        finally:
            visitor.join()


def test_a_genuine_delivery_is_shown_with_its_event() -> None:
    seen = while_listening(post, "--count", "1")
    first, second, row = seen.output.splitlines()

    assert (seen.status, seen.errors) == (0, "")
    assert first.startswith("Listening at http://127.0.0.1:")
    assert second == "Ctrl-C ends it."
    assert " ok 200 NT-20417 shipments/delivered/SUCCESSFULLY_DELIVERED ShipmentEvent (" in row


def test_a_forged_delivery_is_shown_with_the_reason_and_how_to_find_out_why() -> None:
    def visit(url: str) -> None:
        for _ in range(2):
            post(url, secret="of the forger")

    seen = while_listening(visit, "--count", "2")
    rows = seen.output.splitlines()[2:]

    assert seen.status == 1
    assert " !! 401 signature_mismatch (" in rows[0]
    assert rows[1].endswith("why? listen with --record FILE, then karla-receiver explain FILE")
    assert len(rows) == 3


def test_each_delivery_is_a_line_of_json() -> None:
    def visit(url: str) -> None:
        post(url)
        post(f"{url}/elsewhere", secret="of the forger")
        httpx2.get(url, trust_env=False)

    seen = while_listening(visit, "--count", "3", "--json")
    begin, *lines = seen.lines

    assert begin["type"] == "listening"
    assert begin["url"].endswith("/webhooks/karla")
    assert begin["secret"] is None
    assert [each.pop("milliseconds") > 0 for each in lines] == [True] * 3
    assert [each.pop("received_at") > 1.7e9 for each in lines] == [True] * 3
    refused = {"type": "delivery", "event": None}
    assert lines == [
        {
            "type": "delivery",
            "method": "POST",
            "path": "/webhooks/karla",
            "status": 200,
            "reason": None,
            "event": {
                "event_type": "ShipmentEvent",
                "ref": "shipments/delivered/SUCCESSFULLY_DELIVERED",
                "event_group": "shipment_delivered",
                "order_number": "NT-20417",
            },
            "bytes": len(BODY),
        },
        {
            **refused,
            "method": "POST",
            "path": "/webhooks/karla/elsewhere",
            "status": 401,
            "reason": "signature_mismatch",
            "bytes": len(BODY),
        },
        {
            **refused,
            "method": "GET",
            "path": "/webhooks/karla",
            "status": 405,
            "reason": "method_not_allowed",
            "bytes": 0,
        },
    ]


def test_deliveries_are_recorded_whole_even_if_refused_for_their_header(tmp_path: Path) -> None:
    def visit(url: str) -> None:
        post(url)
        httpx2.post(url, content=BODY, headers={"Karla-Signature": "broken"}, trust_env=False)

    file = tmp_path / "deliveries.jsonl"
    seen = while_listening(visit, "--count", "2", "--record", file)
    first, second = decoded(file.read_bytes(), "it").values()

    assert f"why? karla-receiver explain {file}" in seen.output
    assert (first.body, first.reason, first.status) == (BODY, None, 200)
    assert (second.body, second.reason, second.status) == (BODY, Reason.MALFORMED_HEADER, 401)
    assert second.signature == ["broken"]
    assert first.path == "/webhooks/karla"


def test_a_body_without_end_is_not_kept_without_end(tmp_path: Path) -> None:
    def visit(url: str) -> None:
        def chunks() -> object:
            for _ in range(40):
                yield b"x" * 65_536

        answer = httpx2.post(url, content=chunks(), trust_env=False)  # type: ignore[arg-type]
        assert answer.status_code == 401

    file = tmp_path / "deliveries.jsonl"
    while_listening(visit, "--count", "1", "--record", file)
    (delivery,) = decoded(file.read_bytes(), "it").values()
    assert 1_048_576 < len(delivery.body) < 2_000_000


def test_a_sender_that_goes_away_is_shown_too() -> None:
    def visit(url: str) -> None:
        with when_listening(httpx2.URL(url).port or 0) as connection:
            connection.sendall(
                b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n"
                b"Karla-Signature: " + sign(b"", SECRET).encode() + b"\r\n\r\n"
            )

    seen = while_listening(visit, "--count", "1")
    assert " !! --- client_disconnected (0 bytes" in seen.output


def test_no_escape_sequence_of_an_event_reaches_the_terminal() -> None:
    body = b'{"event_group": "x", "source": "shipments", "ref": "a\\u001b[31mb\\u009b"}'
    seen = while_listening(lambda url: post(url, body), "--count", "1")

    assert " - a\\x1b[31mb\\x9b UnknownEvent " in seen.output
    assert "\x1b" not in seen.output


def test_without_a_secret_one_is_made_and_shown_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("karla_receiver.cli.listen.secrets.token_urlsafe", lambda size: SECRET)
    for option, shown in (("--keep=9", f"={SECRET}\n"), ("--json", SECRET)):
        seen = while_listening(post, "--count", "1", option, secret=None)
        assert seen.status == 0
        assert seen.output.count(shown) == 1


def test_an_address_of_ipv6_is_written_as_urls_have_it() -> None:
    assert webhook_url("::1", 80) == "http://[::1]:80/webhooks/karla"


def test_an_address_that_is_not_ours_is_told() -> None:
    wrong = run("listen", "--host", "192.0.2.1", "--port", "0")
    assert wrong.status == 2
    assert "cannot listen at 192.0.2.1, port 0: " in wrong.told


@pytest.mark.parametrize("host", ["\udcff", "a..b", ""])
def test_what_is_no_address_to_listen_at_is_told(host: str) -> None:
    wrong = run("listen", "--host", host, "--port", "0")
    assert wrong.status == 2
    assert f"--host {host!a} is no address to listen at" in wrong.told


@pytest.mark.slow
def test_a_port_in_use_names_itself() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        wrong = run("listen", "--port", str(port))
        assert (wrong.status, wrong.output) == (2, "")
        assert f"port {port} of 127.0.0.1 is in use: choose another with --port" in wrong.told

        with started("listen", "--port", str(port)) as process:
            output, errors = process.communicate(timeout=60)
        assert process.returncode == 2
        assert output == ""
        assert f"port {port} of 127.0.0.1 is in use" in " ".join(errors.split())
        assert "Traceback" not in errors


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot be sent Ctrl-C alone")
@pytest.mark.parametrize("option", ["--json", "--keep=5"])
def test_an_interrupt_ends_it_quietly(option: str) -> None:
    with started("listen", "--port", "0", option) as process:
        assert process.stdout is not None
        assert "istening" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == ""


@pytest.mark.slow
def test_a_closed_pipe_ends_it_without_complaint() -> None:
    with started("listen", "--port", "0", "--json", KARLA_WEBHOOK_SECRET=SECRET) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        begin = process.stdout.readline()
        process.stdout.close()
        url = begin.partition('"url":"')[2].partition('"')[0]
        post(url)
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 0


@pytest.mark.slow
def test_a_closed_pipe_ends_rows_without_complaint() -> None:
    with started("listen", "--port", "0", KARLA_WEBHOOK_SECRET=SECRET) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stdout.readline().split()[-1]
        process.stdout.readline()
        process.stdout.close()
        post(url)
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 0
