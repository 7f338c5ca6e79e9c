"""The fixtures, as users have them: in a pytest run of their own."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

import karla_receiver.testing
from karla_receiver.testing import (
    answers,
    builders,
    clients,
    clock,
    comparing,
    delivering,
    findings,
    safety,
)
from tests.signing import SECRET

pytest_plugins = ["pytester"]

# Loaded here, or each run inside this one would load copies of its own.
LOADED = (answers, builders, clients, clock, comparing, delivering, findings, safety)

APP = """
from flask import Flask
from karla_receiver.adapters.flask import webhook

app = Flask("shop")
orders = []

@app.post("/webhooks/karla")
@webhook("karla-secret-for-tests")
def on_event(event):
    orders.append(event.order_number)
"""


@pytest.mark.slow
def test_events_are_delivered_and_answers_judged_without_an_import(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(
        shop=APP,
        test_shop="""
        from karla_receiver.testing import shipment_event
        from shop import app, orders

        def test_genuine(karla_deliver, assert_acknowledged):
            assert_acknowledged(karla_deliver(app, shipment_event(order_number="NT-1")))
            assert orders == ["NT-1"]

        def test_forged(karla_deliver, assert_refused):
            assert_refused(karla_deliver(app, shipment_event(), bad="forged"))
            answer = karla_deliver(app, shipment_event(), bad="late")
            assert_refused(answer, "timestamp_too_old")

        def test_bytes_and_deliveries(karla_deliver, assert_refused, assert_acknowledged):
            event = shipment_event()
            assert_acknowledged(karla_deliver(app, event.body))
            assert_acknowledged(karla_deliver(app, event.signed("karla-secret-for-tests")))
            assert_refused(karla_deliver(app, event, timestamp=5), "timestamp_too_old")
            assert karla_deliver(app, event, path="/elsewhere").status == 404

        def test_safe(assert_endpoint_is_safe):
            assert assert_endpoint_is_safe(app, skip=["RESO-002"]).sent > 250
        """,
    )
    pytester.runpytest_subprocess("-Werror").assert_outcomes(passed=4)


def test_secret_path_and_clock_can_be_ones_own(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        from karla_receiver import Receiver
        from karla_receiver.adapters.asgi import KarlaMiddleware
        from karla_receiver.testing import claim_created

        @pytest.fixture
        def karla_secret():
            return "a-secret-of-my-own"

        @pytest.fixture
        def karla_path():
            return "/hooks"

        @pytest.fixture
        def app(karla_secret, karla_path, karla_clock):
            receiver = Receiver(karla_secret, clock=karla_clock)
            return KarlaMiddleware(lambda scope, receive, send: None, receiver, path=karla_path)

        def test_window(app, karla_clock, karla_deliver, assert_acknowledged, assert_refused):
            karla_clock.set(1_000_000_000)
            delivery = claim_created().signed("a-secret-of-my-own", timestamp=1_000_000_000)
            assert_acknowledged(karla_deliver(app, claim_created()))
            karla_clock.advance(300)
            assert_acknowledged(karla_deliver(app, delivery))
            karla_clock.advance(1)
            assert_refused(karla_deliver(app, delivery), "timestamp_too_old")

        def test_safe(app, karla_clock, assert_endpoint_is_safe):
            assert_endpoint_is_safe(app, clock=karla_clock)
        """
    )
    pytester.runpytest().assert_outcomes(passed=2)


@pytest.mark.slow
def test_an_unsafe_endpoint_fails_the_test_with_a_table(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from tests.signing import SECRET
        from tests.testing.handmade import IgnoresTheTime

        def test_safe(assert_endpoint_is_safe):
            assert_endpoint_is_safe(IgnoresTheTime(), secret=SECRET, path="/anywhere")
        """
    )
    result = pytester.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            ">       assert_endpoint_is_safe(IgnoresTheTime(), secret=SECRET, path=*",
            "E       AssertionError: the endpoint is not safe: 4 answers are wrong (*",
            "E         - does not check the timestamp",
            "E       TIME-014 *one day old, validly signed*200 accepted*401 or like it*",
        ]
    )
    # Neither the arguments of our own functions nor their source.
    assert SECRET not in result.stdout.str()
    result.stdout.no_fnmatch_line("*def check_endpoint*")


@pytest.mark.slow
def test_a_url_has_its_path_already(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from tests.wsgi_server import serving
        from tests.signing import SECRET
        from tests.testing.handmade import Endpoint
        from karla_receiver.testing import shipment_event
        import pytest

        @pytest.fixture
        def karla_secret():
            return SECRET

        def test_url(karla_deliver, assert_acknowledged, assert_endpoint_is_safe):
            with serving(Endpoint()) as origin:
                assert_acknowledged(karla_deliver(f"{origin}/hook", shipment_event()))
                assert_endpoint_is_safe(f"{origin}/hook")
        """
    )
    pytester.runpytest().assert_outcomes(passed=1)


def test_a_made_delivery_cannot_be_made_otherwise(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        from karla_receiver import ConfigurationError
        from karla_receiver.testing import shipment_event

        @pytest.mark.parametrize("options", [{"bad": "late"}, {"timestamp": 5}])
        def test_it(karla_deliver, options):
            with pytest.raises(ConfigurationError, match="sent as it is"):
                karla_deliver(print, shipment_event().signed("some-secret-of-16"), **options)
        """
    )
    pytester.runpytest().assert_outcomes(passed=2)


def test_an_app_is_started_once_and_stopped_after_the_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import contextlib
        from starlette.applications import Starlette
        from karla_receiver import Receiver
        from karla_receiver.adapters.asgi import KarlaMiddleware
        from karla_receiver.testing import shipment_event

        life = []

        @contextlib.asynccontextmanager
        async def lifespan(app):
            life.append("started")
            yield
            life.append("stopped")

        receiver = Receiver("karla-secret-for-tests")
        app = KarlaMiddleware(Starlette(lifespan=lifespan), receiver)

        def test_twice(karla_deliver):
            assert karla_deliver(app, shipment_event()).status == 200
            assert karla_deliver(app, shipment_event()).status == 200
            assert life == ["started"]

        def test_after():
            assert life == ["started", "stopped"]
        """
    )
    pytester.runpytest("-p", "no:randomly").assert_outcomes(passed=2)


def test_pytest_finds_the_plugin_and_loads_next_to_nothing() -> None:
    (entry,) = (entry for entry in entry_points(group="pytest11") if entry.name == "karla_receiver")
    program = f"import sys, pytest, {entry.value}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    loaded = {name for name in run.stdout.decode().split() if "karla_receiver.testing" in name}

    assert loaded == {"karla_receiver.testing", "karla_receiver.testing.plugin"}
    assert not {"hypothesis", "http.client", "flask"} & set(run.stdout.decode().split())


def test_every_name_of_the_package_is_there_when_it_is_asked_for() -> None:
    for name in karla_receiver.testing.__all__:
        assert getattr(karla_receiver.testing, name) is not None
    assert dir(karla_receiver.testing) == karla_receiver.testing.__all__
    with pytest.raises(AttributeError, match="no attribute 'assert_everything'"):
        _ = karla_receiver.testing.assert_everything
