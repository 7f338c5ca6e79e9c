"""Checks what the pages of docs/operations tell against what the code does."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from karla_receiver import Receiver, Request, samples, sign
from karla_receiver.adapters.prometheus import PrometheusObserver
from tests.doors import Knock, run_wsgi, wsgi_environ
from tests.signing import DOCS_SECRET, SECRET, signed
from tests.test_docs import programs

DOCS = Path(__file__).parent.parent / "docs"


def test_the_table_of_metrics_is_that_of_the_observer() -> None:
    told = re.findall(
        r"^\| `(karla_\w+)` \| (.*?) \|", (DOCS / "operations/metrics.md").read_text(), re.MULTILINE
    )
    registry = CollectorRegistry()
    body = b'{"event_group": "x"}'
    Receiver(SECRET, observer=PrometheusObserver(registry)).receive(signed(body))
    families = {
        family.name + ("_total" if family.type == "counter" else ""): family
        for family in registry.collect()
    }

    assert {metric for metric, _ in told} == set(families)
    for metric, labels in told:
        samples_of = [sample for sample in families[metric].samples if "le" not in sample.labels]
        for sample in samples_of:
            assert set(re.findall(r"`(\w+)`", labels)) == set(sample.labels)


def test_the_table_of_fields_is_that_of_a_log_record(caplog: pytest.LogCaptureFixture) -> None:
    page = (DOCS / "operations/logs.md").read_text()
    fields = set(re.findall(r"^\| `([a-z_]+)` \| (?:text|integer|number)", page, re.MULTILINE))
    Receiver(SECRET).receive(Request("GET", {}, b""))
    (record,) = caplog.records
    usual = set(vars(logging.makeLogRecord({}))) | {"message"}

    assert fields == set(vars(record)) - usual


LEFT_ON = '"disable_existing_loggers": False,'


def test_the_page_on_logs_begins_with_the_setting_without_which_there_are_none() -> None:
    title, first, *_ = (DOCS / "operations/logs.md").read_text().split("\n\n")
    assert title.startswith("# ")
    assert "`disable_existing_loggers` to `False`" in first
    assert LEFT_ON in programs(DOCS / "operations/logs.md")[0]


@pytest.mark.slow
@pytest.mark.parametrize(("setting", "is_logged"), [(LEFT_ON, True), ("", False)])
def test_the_setting_decides_whether_refusals_and_tracebacks_are_logged(
    setting: str, is_logged: bool
) -> None:
    configure, refuse, *_ = programs(DOCS / "operations/logs.md")
    fail = """
from karla_receiver import sign
receiver.on("*")(lambda event: 1 / 0)
body = b'{"event_group": "claim_created"}'
receiver.receive(Request("POST", {"Karla-Signature": sign(body, "your-webhook-secret")}, body))
"""
    program = "\n".join(
        ["import karla_receiver", configure.replace(LEFT_ON, setting), refuse, fail]
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ("missing_signature" in ran.stdout) is is_logged
    assert ("ZeroDivisionError" in ran.stdout) is is_logged
    assert ran.stderr == ""


def test_the_query_for_an_old_secret_is_that_of_the_alert() -> None:
    page = (DOCS / "operations/rotation.md").read_text()
    (query,) = re.findall(r"^    (time\(\) .*)$", page, re.MULTILINE)
    alerts = yaml.safe_load((DOCS.parent / "examples/monitoring/alerts.yml").read_text())
    rules = [rule for group in alerts["groups"] for rule in group["rules"]]
    (asked,) = [rule["expr"] for rule in rules if rule["alert"] == "KarlaOldSecretUnused"]
    assert asked == f"{query} > 604800"


def test_the_scheme_that_a_proxy_tells_decides(capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = programs(DOCS / "operations" / "proxy.md")
    names: dict[str, Any] = {"__name__": "page"}
    exec(program, names)  # noqa: S102 - it is our own page
    body = samples.read("claim_created")
    for scheme, status in (("https", 200), ("http", 403)):
        headers = [
            ("Karla-Signature", sign(body, DOCS_SECRET)),
            ("X-Forwarded-Proto", scheme),
        ]
        assert run_wsgi(names["app"], wsgi_environ(Knock(headers=headers, body=body)))[0] == status
    assert capsys.readouterr().out == "claims/created\n"
