from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, request

from karla_receiver import ConfigurationError, Event, Receiver
from karla_receiver.adapters import asgi, wsgi
from karla_receiver.adapters.flask import webhook
from karla_receiver.testing import (
    SettableClock,
    assert_endpoint_is_safe,
    check_endpoint,
    claim_created,
)
from karla_receiver.testing.findings import Kind
from tests.signing import SECRET
from tests.testing.handmade import (
    FAULTS,
    ComparesWithEquals,
    Endpoint,
    IgnoresTheTime,
    ParsesFirst,
)
from tests.testing.test_clients import answering
from tests.wsgi_server import serving


def flask_app(*secrets: str) -> Flask:
    app = Flask("shop")
    app.post("/webhooks/karla")(webhook(*secrets)(lambda event: None))
    return app


OURS: dict[str, Callable[[], Any]] = {
    "receiver": lambda: Receiver(SECRET),
    "asgi": lambda: asgi.KarlaApp(Receiver(SECRET)),
    "wsgi": lambda: wsgi.KarlaApp(Receiver(SECRET)),
    "flask": lambda: flask_app(SECRET),
    "flask, rotating": lambda: flask_app("the-new-secret-16", SECRET),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OURS)
def test_our_own_endpoints_are_safe(name: str) -> None:
    report = assert_endpoint_is_safe(OURS[name](), secret=SECRET)

    assert report.sent > 250
    assert not report.findings
    assert not report.unhandled
    assert not report.mistakes
    assert str(report).startswith(f"no answer is wrong: {report.sent} deliveries in ")


def test_a_sound_endpoint_of_other_make_is_safe() -> None:
    report = assert_endpoint_is_safe(Endpoint(), secret=SECRET)
    assert report.sent > 250


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, id=fault.__name__, marks=[] if place < 4 else pytest.mark.slow)
        for place, fault in enumerate(FAULTS)
    ],
)
def test_a_planted_fault_is_found_and_named(fault: Callable[[], Any]) -> None:
    with pytest.raises(AssertionError) as caught:
        assert_endpoint_is_safe(fault(), secret=SECRET)

    report = str(caught.value)
    assert report.startswith("the endpoint is not safe: ")
    for words in FAULTS[fault]:
        assert words in report
    assert SECRET not in report


@pytest.mark.slow
def test_only_the_planted_fault_is_named() -> None:
    assert check_endpoint(IgnoresTheTime(), secret=SECRET).mistakes == (
        "does not check the timestamp",
        "accepts timestamps from the future",
    )
    assert [finding.id for finding in check_endpoint(ParsesFirst(), secret=SECRET).findings] == [
        "BODY-020",
        "BODY-036",
        "BODY-037",
    ]


@pytest.mark.slow
def test_the_report_is_a_table_with_what_was_decided_below() -> None:
    report = check_endpoint(FirstTimeOnly(), secret=SECRET)
    lines = str(report).splitlines()

    header = next(line for line in lines if line.startswith("id "))
    row = next(line for line in lines if line.startswith("HEAD-028"))
    assert row.index("two t, first good") == header.index("sent")
    assert row.index("200 accepted") == header.index("answered")
    assert row.index("401 or like it") == header.index("must be")
    assert "  - takes one of two timestamps" in lines
    assert "D3:" in lines
    assert any(line.startswith("  Exactly one t.") for line in lines)


class FirstTimeOnly(Endpoint):
    def parts_of(self, header: str) -> tuple[str, str]:
        pieces = header.split(",")
        kept = [piece for piece in pieces if not piece.startswith("t=5")]
        return super().parts_of(",".join(kept))


class TakesAnOddMethod(Endpoint):
    def status_of(self, environ: Any) -> int:
        is_odd = environ["REQUEST_METHOD"] == "FOO"
        return 200 if is_odd else super().status_of(environ)


def test_a_finding_may_point_to_no_usual_mistake() -> None:
    report = check_endpoint(TakesAnOddMethod(), secret=SECRET)

    assert [finding.id for finding in report.findings] == ["HTTP-008"]
    assert str(report).startswith("the endpoint is not safe: 1 answer is wrong (")
    assert report.mistakes == ()
    assert "It looks as if" not in str(report)


def test_an_endpoint_that_accepts_nothing_is_not_called_safe() -> None:
    report = check_endpoint(Endpoint(), secret="another-secret-16")

    assert [(finding.id, finding.answered) for finding in report.findings] == [("GENUINE", "401")]
    assert "is secret= or karla_secret the app's secret?" in str(report)
    assert report.mistakes == ()


def test_an_endpoint_that_cannot_read_its_body_is_asked_for_its_secret() -> None:
    report = check_endpoint(Endpoint(), secret="another-secret-16", body=b"no JSON")
    assert report.sent == 1
    assert "the app's secret?" in report.findings[0].why


def test_a_wrong_path_is_not_called_safe() -> None:
    report = check_endpoint(flask_app(SECRET), secret=SECRET, path="/elsewhere")
    assert report.findings[0].answered == "404"
    assert report.findings[0].why == "nothing is served at '/elsewhere': give path= or karla_path"
    assert report.mistakes == ()


def test_the_usual_path_is_named_where_nothing_is_served() -> None:
    app = Flask("shop")
    app.get("/webhooks/karla")(lambda: "")
    (finding,) = check_endpoint(app, secret=SECRET).findings
    assert finding.answered == "405"
    assert "nothing is served at '/webhooks/karla': give path=" in finding.why


def test_a_wrong_url_is_told() -> None:
    with serving(flask_app(SECRET)) as origin:
        (finding,) = check_endpoint(origin, secret=SECRET).findings
    assert finding.why == "nothing is served at '/': is the URL right?"


class Tires(Endpoint):
    """Answers 500 to everything, once it has seen a hundred requests."""

    seen = 0

    def status_of(self, environ: Any) -> int:
        self.seen += 1
        return super().status_of(environ) if self.seen < 100 else 500


def test_an_endpoint_that_the_attacks_break_is_found_out() -> None:
    report = check_endpoint(Tires(), secret=SECRET)
    kinds = {finding.id: finding.kind for finding in report.findings}
    assert kinds["STILL"] is Kind.FAILED


# --- time ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tolerance", "case"), [(301, "TIME-005"), (299, "TIME-004"), (300.5, "TIME-010")]
)
def test_with_the_endpoints_clock_the_window_is_tried_to_the_second(
    tolerance: float, case: str
) -> None:
    clock = SettableClock()
    receiver = Receiver(SECRET, clock=clock, tolerance=tolerance)

    report = check_endpoint(receiver, secret=SECRET, clock=clock)

    assert case in {finding.id for finding in report.findings}
    assert not any("window" in reason for reason in report.left_out)


def test_with_a_clock_a_right_window_is_safe() -> None:
    clock = SettableClock(5_000_000)
    assert_endpoint_is_safe(Receiver(SECRET, clock=clock), secret=SECRET, clock=clock)


@pytest.mark.slow
def test_without_a_clock_the_edges_of_the_window_are_left_out_and_said_to_be() -> None:
    report = assert_endpoint_is_safe(Receiver(SECRET), secret=SECRET)

    left_out = "\n".join(report.left_out)
    assert "TIME-004 age 300 s: it is too close to the earlier edge of the window" in left_out
    assert "TIME-007 age -299 s: it is too close to the later edge of the window" in left_out
    assert "TIME-014" not in left_out


@pytest.mark.slow
@pytest.mark.parametrize("skew", [-25, 25])
def test_a_clock_that_is_a_little_off_is_no_fault(skew: int) -> None:
    assert_endpoint_is_safe(Receiver(SECRET, clock=lambda: time.time() + skew), secret=SECRET)


@pytest.mark.slow
@pytest.mark.parametrize("tolerance", [60, 600, 200_000])
def test_the_endpoint_may_have_another_tolerance(tolerance: int) -> None:
    report = assert_endpoint_is_safe(
        Receiver(SECRET, tolerance=tolerance), secret=SECRET, tolerance=tolerance
    )
    # A day is within 200,000 seconds, and ten years are not.
    left_out = [line[:8] for line in report.left_out]
    assert ("TIME-014" in left_out) == (tolerance == 200_000)
    assert "TIME-013" not in left_out


# --- over the wire -------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_endpoint_is_tried_over_its_url() -> None:
    with serving(Endpoint()) as origin:
        report = assert_endpoint_is_safe(f"{origin}/hook", secret=SECRET)

    left_out = "\n".join(report.left_out)
    assert (
        "HEAD-046 newline separator as printed in Karla's docs: it cannot be put on the wire"
        in left_out
    )
    assert "HEAD-056 NBSP around (latin-1 0xA0): a server may trim a header" in left_out
    assert report.sent > 245


@pytest.mark.slow
def test_over_a_url_a_fault_is_found_but_not_how_it_compares() -> None:
    with serving(ParsesFirst()) as origin:
        assert len(check_endpoint(f"{origin}/hook", secret=SECRET).findings) == 3
    with serving(ComparesWithEquals()) as origin:
        assert not check_endpoint(f"{origin}/hook", secret=SECRET).findings


def test_an_endpoint_that_hangs_up_has_not_answered() -> None:
    with answering(b"") as url:
        report = check_endpoint(url, secret=SECRET)
    assert report.findings[0].answered.startswith("nothing: RemoteDisconnected")
    assert report.findings[0].kind is Kind.FAILED


class HangsUpOn(Endpoint):
    """Stands for a server in front that closes the connection."""

    def __init__(self, condition: Callable[[Any], bool]) -> None:
        self.condition = condition

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        if self.condition(environ):
            environ["wsgi.errors"] = None
            raise ConnectionAbortedError
        return super().__call__(environ, start_response)


@pytest.mark.slow
def test_hanging_up_on_what_is_large_is_a_refusal_and_on_the_rest_is_not() -> None:
    def is_large(environ: Any) -> bool:
        return int(environ["CONTENT_LENGTH"]) > 1_048_576

    with serving(HangsUpOn(is_large)) as origin:
        assert not check_endpoint(f"{origin}/hook", secret=SECRET).findings
    with serving(HangsUpOn(lambda environ: "," not in environ["HTTP_KARLA_SIGNATURE"])) as origin:
        found = check_endpoint(f"{origin}/hook", secret=SECRET).findings
    assert {"HEAD-006", "HEAD-008"} <= {finding.id for finding in found}
    assert not any(finding.id == "RESO-002" for finding in found)


def has_control(environ: Any) -> bool:
    return "\x0b" in environ.get("HTTP_KARLA_SIGNATURE", "")


@pytest.mark.slow
def test_hanging_up_on_a_malformed_request_is_a_refusal_if_the_next_genuine_one_is_accepted() -> (
    None
):
    with serving(HangsUpOn(has_control)) as origin:
        assert not check_endpoint(f"{origin}/hook", secret=SECRET).findings


class DiesOf(HangsUpOn):
    """Is never there again, once it has hung up."""

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        if self.condition(environ):
            self.condition = lambda _: True
        return super().__call__(environ, start_response)


@pytest.mark.slow
def test_hanging_up_on_a_malformed_request_for_good_is_a_finding() -> None:
    with serving(DiesOf(has_control)) as origin:
        found = {finding.id for finding in check_endpoint(f"{origin}/hook", secret=SECRET).findings}
    assert {"TIME-050", "STILL"} <= found


def test_the_cause_of_no_answer_is_shown_whole() -> None:
    report = check_endpoint("http://127.0.0.1:1/hook", secret=SECRET)
    assert "\n           answered: nothing: ConnectionRefusedError: [Errno " in str(report)


# --- what is right -------------------------------------------------------------------------------


def test_a_handler_that_fails_for_an_odd_event_is_told_and_no_finding() -> None:
    receiver = Receiver(SECRET)

    @receiver.on("*")
    def handler(event: Event) -> None:
        assert event.raw["context"]["order"]["order_number"]

    report = assert_endpoint_is_safe(receiver, secret=SECRET)
    assert "JSON-026 only event_group" in report.unhandled
    assert f"{len(report.unhandled)} odd but genuine events" in str(report)


def test_a_handler_that_fails_for_the_event_it_was_given_is_a_finding() -> None:
    receiver = Receiver(SECRET)

    @receiver.on("*")
    def handler(event: Event) -> None:
        assert event.ref == "claims/created"

    assert check_endpoint(receiver, secret=SECRET).findings[0].answered == "500"
    assert_endpoint_is_safe(receiver, secret=SECRET, body=claim_created().body)


class AsksForJSON(Endpoint):
    def status_of(self, environ: Any) -> int:
        if not environ["CONTENT_TYPE"].startswith("application/json"):
            return 415
        return super().status_of(environ)


class RoutesByMethod(Endpoint):
    def status_of(self, environ: Any) -> int:
        if environ["REQUEST_METHOD"] == "OPTIONS":
            return 204
        return super().status_of(environ) if environ["REQUEST_METHOD"] == "POST" else 404


class LimitsBodies(Endpoint):
    def max_bytes(self) -> int:
        return 65_536


class ForbidsInsteadOf401(Endpoint):
    def status_of(self, environ: Any) -> int:
        status = super().status_of(environ)
        return 403 if status == 401 else status


@pytest.mark.slow
@pytest.mark.parametrize(
    "endpoint", [AsksForJSON, RoutesByMethod, LimitsBodies, ForbidsInsteadOf401]
)
def test_other_documented_refusals_are_right_too(endpoint: Callable[[], Any]) -> None:
    assert_endpoint_is_safe(endpoint(), secret=SECRET)


def test_a_status_that_is_no_documented_refusal_is_found() -> None:
    app = Flask("shop")

    @app.post("/webhooks/karla")
    def view() -> tuple[str, int]:
        environ = {**request.environ, "wsgi.input": request.stream}
        status = Endpoint().status_of(environ)
        return "", {401: 422}.get(status, status)

    found = check_endpoint(app, secret=SECRET).findings
    assert {finding.kind for finding in found} == {Kind.UNEXPECTED}
    assert ("HMAC-017", "422") in {(finding.id, finding.answered) for finding in found}


def test_an_answer_that_shows_the_secret_is_found() -> None:
    class Debug(Endpoint):
        def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
            super().__call__(environ, start_response)
            return [b"secrets: ", SECRET.encode()]

    assert {finding.kind for finding in check_endpoint(Debug(), secret=SECRET).findings} == {
        Kind.LEAKED
    }


def test_a_secret_may_be_bytes_and_short() -> None:
    report = assert_endpoint_is_safe(Receiver(b"a-"), secret=b"a-")
    assert report.sent > 250


# --- arguments -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_cases_can_be_skipped_by_id() -> None:
    report = assert_endpoint_is_safe(ComparesWithEquals(), secret=SECRET, skip=["COMPARE"])
    assert "COMPARE a forged delivery, while comparisons are watched: skipped" in report.left_out
    report = check_endpoint(ParsesFirst(), secret=SECRET, skip=("BODY-020", "BODY-036"))
    assert [finding.id for finding in report.findings] == ["BODY-037"]
    assert "BODY-036 not JSON, forged: skipped" in report.left_out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"skip": ["BODY-999"]}, "no case is called 'BODY-999'"),
        ({"tolerance": 5}, "at least 60 seconds"),
        ({"secret": ""}, "is empty or blank"),
        ({"path": "hook"}, "path must start with"),
    ],
)
def test_a_wrong_argument_is_a_configuration_error(options: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"secret": SECRET, **options}
    with pytest.raises(ConfigurationError, match=message):
        assert_endpoint_is_safe(Endpoint(), **arguments)
