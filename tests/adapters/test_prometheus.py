from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest

from karla_receiver import (
    ConfigurationError,
    Reason,
    Receiver,
    RequestError,
    parse_event,
    samples,
)
from karla_receiver.adapters.prometheus import PrometheusObserver
from karla_receiver.errors import STATUS
from karla_receiver.idempotency import Claim, ClaimState
from karla_receiver.observing import attempt
from tests.observed import Remembering
from tests.signing import BODY, NOW, SECRET, signature_header, signed
from tests.waiting import PATIENCE_SECONDS, until

EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "monitoring"


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def receiver_of(registry: CollectorRegistry, **options: Any) -> Receiver:
    observer = PrometheusObserver(registry)
    receiver = Receiver("new", SECRET, clock=lambda: NOW, observer=observer, **options)
    receiver.on("shipments")(lambda event: None)
    return receiver


def test_a_handled_delivery_is_counted_and_timed(registry: CollectorRegistry) -> None:
    receiver_of(registry).receive(signed(timestamp=NOW - 7))
    read = registry.get_sample_value

    labels = {"status": "200", "reason": "none", "event_group": "shipment_delivered"}
    assert read("karla_deliveries_total", labels) == 1
    for name in ("delivery_seconds", "handler_seconds", "body_bytes", "clock_skew_seconds"):
        assert read(f"karla_{name}_count") == 1
    assert read("karla_clock_skew_seconds_bucket", {"le": "2.0"}) == 0
    assert read("karla_clock_skew_seconds_bucket", {"le": "10.0"}) == 1
    assert read("karla_body_bytes_sum") == len(BODY)
    assert read("karla_secret_matches_total", {"secret": "1"}) == 1
    last = read("karla_secret_last_match_timestamp_seconds", {"secret": "1"})
    assert last == pytest.approx(time.time(), abs=60)
    assert read("karla_secret_matches_total", {"secret": "0"}) is None


def test_what_no_handler_wants_is_counted_by_its_group(registry: CollectorRegistry) -> None:
    observer = PrometheusObserver(registry=registry)
    receiver = Receiver(SECRET, clock=lambda: NOW, observer=observer)
    unwanted = {"event_group": "claim_created"}
    read = registry.get_sample_value
    assert read("karla_unwanted_total", unwanted) == 0  # so that increase() sees the first one

    receiver.receive(signed(samples.read("claim_created"), timestamp=NOW))
    with attempt(observer) as seen:
        receiver.handlers.handle(parse_event(samples.read("claim_created")), seen)

    assert read("karla_unwanted_total", unwanted) == 2
    attempts = {"outcome": "unwanted", "event_group": "claim_created"}
    assert read("karla_attempts_total", attempts) == 1
    assert read("karla_handler_seconds_count") == 0


def test_a_refusal_is_counted_by_its_reason(registry: CollectorRegistry) -> None:
    receiver = receiver_of(registry)
    receiver.receive(signed(secret="another-secret", timestamp=NOW))
    receiver.receive(signed(timestamp=NOW - 500))
    read = registry.get_sample_value

    for reason in ("signature_mismatch", "timestamp_too_old"):
        labels = {"status": "401", "reason": reason, "event_group": "none"}
        assert read("karla_deliveries_total", labels) == 1
    assert read("karla_clock_skew_seconds_count") == 1  # the forgery's is nobody's
    assert read("karla_clock_skew_seconds_bucket", {"le": "300.0"}) == 0
    assert read("karla_handler_seconds_count") == 0
    # Genuine, if late: the secret is still in use.
    assert read("karla_secret_matches_total", {"secret": "1"}) == 1


def test_a_sender_that_went_away_is_counted_without_a_status(registry: CollectorRegistry) -> None:
    def chunks() -> Iterator[bytes]:
        yield b""
        raise RequestError(Reason.CLIENT_DISCONNECTED)

    with pytest.raises(RequestError):
        receiver_of(registry).receive(signed(body=chunks()))
    labels = {"status": "none", "reason": "client_disconnected", "event_group": "none"}
    assert registry.get_sample_value("karla_deliveries_total", labels) == 1


def test_what_a_view_answers_is_what_is_counted(registry: CollectorRegistry) -> None:
    receiver = receiver_of(registry)
    receiver.receive(signed(timestamp=NOW - 7), view=lambda event: 202)
    receiver.receive(signed(timestamp=NOW - 7), view=lambda event: 404)
    for status, reason in ((202, "none"), (404, "handler_error")):
        labels = {
            "status": str(status),
            "reason": reason,
            "event_group": "shipment_delivered",
        }
        assert registry.get_sample_value("karla_deliveries_total", labels) == 1


def test_what_an_alert_waits_for_is_there_before_the_first_one(registry: CollectorRegistry) -> None:
    PrometheusObserver(registry)
    read = registry.get_sample_value
    for reason, answered in STATUS.items():
        labels = {
            "status": str(answered).lower(),
            "reason": str(reason),
            "event_group": "none",
        }
        assert read("karla_deliveries_total", labels) == 0
    for lost in ("handler_error", "undecodable_event", "retry_later", "unavailable"):
        for group in ("claim_created", "other"):
            status = str(STATUS[Reason(lost)])
            labels = {"status": status, "reason": lost, "event_group": group}
            assert read("karla_deliveries_total", labels) == 0
            labels = {"outcome": lost, "event_group": group}
            assert read("karla_attempts_total", labels) == 0
    for kind in ("same", "other_bytes"):
        assert read("karla_duplicates_total", {"kind": kind}) == 0
    assert read("karla_parked_total") == 0


def test_a_second_observer_on_one_registry_is_refused_with_the_remedy(
    registry: CollectorRegistry,
) -> None:
    PrometheusObserver(registry)
    with pytest.raises(ConfigurationError, match="one PrometheusObserver for the process"):
        PrometheusObserver(registry)


def test_attempts_of_a_worker_are_counted_apart_from_requests(
    registry: CollectorRegistry,
) -> None:
    observer = PrometheusObserver(registry)
    event = parse_event(BODY)
    for reason, is_parked in ((None, False), (Reason.HANDLER_ERROR, True)):
        with attempt(observer) as seen:
            seen.event, seen.reason, seen.is_parked = event, reason, is_parked
            seen.handler_seconds = 0.1
    read = registry.get_sample_value

    for outcome in ("handled", "handler_error"):
        labels = {"outcome": outcome, "event_group": "shipment_delivered"}
        assert read("karla_attempts_total", labels) == 1
    assert (read("karla_parked_total"), read("karla_handler_seconds_count")) == (1, 2)
    assert read("karla_delivery_seconds_count") == 0
    page = generate_latest(registry).decode()
    assert not re.findall(r"^karla_deliveries_total.* [^0]", page, re.MULTILINE)


@pytest.mark.parametrize(
    ("claim", "kind"),
    [
        (Claim(ClaimState.DONE), "same"),
        (Claim(ClaimState.CLAIMED, "token", is_near_duplicate=True), "other_bytes"),
    ],
)
def test_duplicates_are_counted(registry: CollectorRegistry, claim: Claim, kind: str) -> None:
    receiver_of(registry, idempotency=Remembering(claim)).receive(signed(timestamp=NOW - 7))
    assert registry.get_sample_value("karla_duplicates_total", {"kind": kind}) == 1


SHOP = """
import os
from prometheus_client import CollectorRegistry, generate_latest, multiprocess
from karla_receiver import Receiver
from karla_receiver.adapters.prometheus import PrometheusObserver
from karla_receiver.adapters.wsgi import KarlaMiddleware

receiver = Receiver("a-secret", observer=PrometheusObserver())

def metrics(environ, start_response):
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    start_response("200 OK", [("X-Worker", str(os.getpid()))])
    return [generate_latest(registry)]

app = KarlaMiddleware(metrics, receiver)
"""


@contextmanager
def gunicorn(folder: Path) -> Generator[str]:
    (folder / "shop.py").write_text(SHOP)
    (folder / "metrics").mkdir()
    command = [sys.executable, "-m", "gunicorn", "-w", "3", "-b", "127.0.0.1:0", "shop:app"]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder / "metrics")},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        address = ""
        for line in process.stderr:
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                address = found[0]
                break
        assert address, "gunicorn did not start"
        yield address
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE_SECONDS)


@pytest.mark.slow
def test_the_counts_of_all_workers_are_added_up(tmp_path: Path) -> None:
    with gunicorn(tmp_path) as url:
        headers = signature_header(secret="a-secret")
        pages: dict[str, str] = {}
        with httpx2.Client(base_url=url, trust_env=False) as client:  # gunicorn closes each time
            for _ in range(60):
                answer = client.post("/webhooks/karla", content=BODY, headers=headers)
                assert answer.status_code == 200

            def have_two_workers_answered() -> bool:
                page = client.get("/metrics")
                # prometheus_client fails over the file that a worker has just made, and not filled.
                if page.status_code == 200:
                    pages[page.headers["x-worker"]] = page.text
                return len(pages) > 1

            until(have_two_workers_answered)
    counts = re.findall(
        r'karla_deliveries_total\{[^}]*status="200"\} ([\d.]+)', "".join(pages.values())
    )
    assert counts == ["60.0"] * 2


def known_metrics() -> set[str]:
    registry = CollectorRegistry()
    receiver = receiver_of(registry)
    receiver.receive(signed(timestamp=NOW - 7))
    receiver_of(
        again := CollectorRegistry(), idempotency=Remembering(Claim(ClaimState.DONE))
    ).receive(signed(timestamp=NOW - 7))
    pages = (generate_latest(registry) + generate_latest(again)).decode()
    return set(re.findall(r"^(karla_\w+)", pages, re.MULTILINE))


def test_dashboard_and_alerts_ask_for_metrics_that_exist() -> None:
    dashboard = json.loads((EXAMPLES / "grafana-dashboard.json").read_text())
    alerts = yaml.safe_load((EXAMPLES / "alerts.yml").read_text())
    rules = [rule for group in alerts["groups"] for rule in group["rules"]]
    panels = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked = set(re.findall(r"karla_\w+", " ".join([*panels, *(rule["expr"] for rule in rules)])))

    assert len(panels) >= 6
    assert all(rule["alert"] and rule["annotations"]["summary"] for rule in rules)
    assert asked <= known_metrics()
    for part in ("reason", "clock_skew", "secret_last_match", "other_bytes"):
        assert any(part in expression for expression in panels)
        assert any(part in rule["expr"] for rule in rules)


def test_alerts_name_reasons_that_exist() -> None:
    text = (EXAMPLES / "alerts.yml").read_text()
    named = {word for match in re.findall(r'reason=~?"([^"]+)"', text) for word in match.split("|")}
    assert named
    assert named <= {*map(str, Reason), "none"}


@pytest.mark.slow
@pytest.mark.skipif(
    not shutil.which("promtool"),
    reason="promtool is not installed (Debian: apt-get install prometheus)",
)
def test_each_alert_fires_when_it_should() -> None:
    files = [EXAMPLES / name for name in ("alerts_test.yml", "rotation_test.yml")]
    ended = subprocess.run(
        ["promtool", "test", "rules", *files],  # noqa: S607 - wherever it is installed
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    tested = {
        case["alertname"]
        for file in files
        for test in yaml.safe_load(file.read_text())["tests"]
        for case in test["alert_rule_test"]
        if "exp_alerts" in case
    }
    alerts = yaml.safe_load((EXAMPLES / "alerts.yml").read_text())
    assert tested == {rule["alert"] for group in alerts["groups"] for rule in group["rules"]}
