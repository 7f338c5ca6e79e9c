from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from typer.testing import CliRunner

from karla_receiver import Reason, Receiver, samples
from karla_receiver.cli.deliveries import NamedDelivery, all_deliveries, genuine_deliveries
from karla_receiver.cli.demo import rehearse
from karla_receiver.cli.display import Summary
from karla_receiver.cli.program import program
from karla_receiver.cli.shop import Adapter
from karla_receiver.cli.witness import Rehearsal
from karla_receiver.errors import STATUS
from tests.signing import SECRET

# What each bad delivery must be refused for; written here once more, on purpose.
REFUSED = {
    "forged": Reason.SIGNATURE_MISMATCH,
    "altered": Reason.SIGNATURE_MISMATCH,
    "reserialised": Reason.SIGNATURE_MISMATCH,
    "late": Reason.TIMESTAMP_TOO_OLD,
    "redated": Reason.SIGNATURE_MISMATCH,
    "early": Reason.TIMESTAMP_IN_FUTURE,
    "unsigned": Reason.MISSING_SIGNATURE,
    "malformed_header": Reason.MALFORMED_HEADER,
    "only_v0": Reason.NO_V1,
    "oversized": Reason.BODY_TOO_LARGE,
    "get": Reason.METHOD_NOT_ALLOWED,
    "not_json": Reason.INVALID_JSON,
    "not_an_object": Reason.INVALID_ENVELOPE,
    "without_event_group": Reason.INVALID_ENVELOPE,
    "unfitting": Reason.UNDECODABLE_EVENT,
    "failing": Reason.HANDLER_ERROR,
}

every_adapter = pytest.mark.parametrize("adapter", Adapter)


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(program, ["demo", *arguments])
    assert result.stderr == ""
    return result.exit_code, result.stdout


def run_json(*arguments: str) -> tuple[int, list[dict[str, Any]], dict[str, Any]]:
    exit_code, output = run("--json", *arguments)
    *deliveries, summary = map(json.loads, output.splitlines())
    return exit_code, deliveries, summary


@every_adapter
def test_the_demo_passes(adapter: Adapter) -> None:
    exit_code, output = run("--adapter", adapter)

    assert exit_code == 0
    assert f"({adapter}) at http://127.0.0.1:" in output
    assert output.count("\nok ") == len(samples.names()) + len(REFUSED)
    assert "!!" not in output
    assert output.endswith("Every result was the documented one.\n")


@pytest.mark.slow
@every_adapter
def test_every_delivery_is_a_line_of_json(adapter: Adapter) -> None:
    exit_code, deliveries, summary = run_json("--adapter", adapter)
    results = {each["name"]: (each["status"], each["reason"]) for each in deliveries}

    assert exit_code == 0
    assert results == {
        **dict.fromkeys(samples.names(), (200, None)),
        **{name: (STATUS[reason], reason) for name, reason in REFUSED.items()},
    }
    assert all(each["is_documented"] for each in deliveries)
    assert summary.pop("seconds") > 0
    assert summary == {
        "type": "summary",
        "adapter": adapter,
        "handled": len(samples.names()),
        "refused": len(REFUSED),
        "undocumented": 0,
    }


@pytest.mark.slow
@every_adapter
def test_handlers_see_what_is_genuine_and_nothing_else(adapter: Adapter) -> None:
    _, deliveries, _ = run_json("--adapter", adapter)
    handled = {each["name"]: each["handled"] for each in deliveries}

    assert [name for name, events in handled.items() if events] == [*samples.names(), "failing"]
    assert handled["claim_created"] == [
        {
            "event_type": "ClaimEvent",
            "ref": "claims/created",
            "event_group": "claim_created",
            "order_number": "NT-20417",
        }
    ]
    assert handled["unknown_future_event"] == [
        {
            "event_type": "UnknownEvent",
            "ref": "returns/label/PRINTED",
            "event_group": "return_label_printed",
            "order_number": "NT-20417",
        }
    ]


@pytest.mark.slow
def test_asgi_is_the_default() -> None:
    assert run_json()[2]["adapter"] == "asgi"


def expect_the_opposite(secret: str, *, now: int) -> tuple[NamedDelivery, ...]:
    """Return one genuine delivery that is said to have to be refused."""
    sample = next(genuine_deliveries(secret, now=now))
    return (
        NamedDelivery(
            name="opposite",
            sent="a good one, said to be bad",
            request=replace(sample.request, reason=Reason.SIGNATURE_MISMATCH),
        ),
    )


@pytest.mark.slow
def test_another_result_than_the_documented_one_is_marked_and_the_demo_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("karla_receiver.cli.demo.all_deliveries", expect_the_opposite)

    exit_code, output = run()
    assert exit_code == 1
    assert "\n!! 200 a good one, said to be bad " in output
    assert "\n   401 was documented: signature_mismatch, no handler called\n" in output
    assert output.endswith("1 of 1 results were not the documented ones.\n")

    exit_code, (delivery,), summary = run_json()
    assert exit_code == 1
    assert not delivery["is_documented"]
    assert summary["undocumented"] == 1


@pytest.mark.slow
@every_adapter
def test_a_receiver_that_accepts_what_is_stale_fails_the_demo(
    adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    lenient = partial(Receiver, tolerance=1e9)
    monkeypatch.setattr("karla_receiver.cli.shop.Receiver", lenient)
    exit_code, deliveries, summary = run_json("--adapter", adapter)
    wrong = [each for each in deliveries if not each["is_documented"]]

    assert exit_code == 1
    assert summary["undocumented"] == 2
    assert [each["name"] for each in wrong] == ["late", "early"]
    assert all(each["handled"] for each in wrong)


def test_each_result_is_shown_before_the_next_delivery_is_sent() -> None:
    steps: list[str] = []

    def deliveries() -> Iterator[NamedDelivery]:
        for delivery in all_deliveries(SECRET, now=int(time.time())):
            steps.append(f"sent {delivery.name}")
            yield delivery

    class Steps:
        def begin(self, adapter: str, url: str) -> None:
            steps.append("begin")

        def show(self, rehearsal: Rehearsal) -> None:
            steps.append(f"shown {rehearsal.exchange.delivery.name}")

        def end(self, summary: Summary) -> None:
            steps.append("end")

    rehearse(deliveries(), SECRET, Adapter.WSGI, Steps())
    names = [*samples.names(), *REFUSED]

    assert steps == [
        "begin",
        *(step for name in names for step in (f"sent {name}", f"shown {name}")),
        "end",
    ]


@pytest.mark.slow
def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert run_json()[2]["undocumented"] == 0


@pytest.mark.slow
def test_a_secret_is_made_for_each_run_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def note(secret: str, *, now: int) -> tuple[NamedDelivery, ...]:
        made.append(secret)
        return all_deliveries(secret, now=now)

    monkeypatch.setattr("karla_receiver.cli.demo.all_deliveries", note)
    outputs = run()[1] + run("--json")[1]

    assert len(set(made)) == 2
    assert not any(secret in outputs for secret in made)


def test_help_teaches_with_examples() -> None:
    exit_code, output = run("--help")

    assert exit_code == 0
    assert "\n   karla-receiver demo --adapter flask" in output
    assert "\n   karla-receiver demo --json | jq 'select(.reason)'" in output
    assert max(map(len, output.splitlines())) <= 80


@pytest.mark.parametrize("arguments", [["--adapter", "django"], ["--nothing"], ["surplus"]])
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    result = CliRunner().invoke(program, ["demo", *arguments])

    assert result.exit_code == 2
    assert result.stdout == ""
    assert arguments[-1] in result.stderr


def test_an_unknown_adapter_is_told_those_that_are_known() -> None:
    result = CliRunner().invoke(program, ["demo", "--adapter", "django"])
    assert all(f"'{adapter}'" in " ".join(result.stderr.split()) for adapter in Adapter)
