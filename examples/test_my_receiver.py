"""How to test a receiver: the shop of `flask_shop.py`, with the fixtures that pytest finds.

Run it:  pip install "karla-receiver[flask,testing]"
         pytest examples/test_my_receiver.py
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from karla_receiver.testing import SafetyReport, claim_created, shipment_event
from karla_receiver.testing.delivering import Deliverer


@pytest.fixture
def karla_secret() -> str:
    """Replace the plugin's secret by the endpoint's."""
    return "try-me-try-me-16"


@pytest.fixture
def app(karla_secret: str, monkeypatch: pytest.MonkeyPatch) -> Flask:
    """Make the app as in production, with the test's secret."""
    monkeypatch.setenv("KARLA_WEBHOOK_SECRET", karla_secret)
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parent), *sys.path])
    flask_app: Flask = importlib.import_module("flask_shop").app
    return flask_app


def test_a_delivered_order_is_thanked_for(
    app: Flask,
    karla_deliver: Deliverer,
    assert_acknowledged: Callable[[Any], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The event is built, signed and delivered; the handler did its work."""
    assert_acknowledged(karla_deliver(app, shipment_event("delivered", order_number="NT-1")))
    assert "order NT-1: thank the customer" in caplog.text


def test_a_claim_is_looked_into(
    app: Flask,
    karla_deliver: Deliverer,
    assert_acknowledged: Callable[[Any], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Any field can be set; the rest is as Karla sends it."""
    assert_acknowledged(karla_deliver(app, claim_created(claim_id="c-7", reason="damage")))
    assert "look into claim c-7" in caplog.text


@pytest.mark.parametrize(
    ("bad", "reason"), [("forged", "signature_mismatch"), ("late", "timestamp_too_old")]
)
def test_what_is_not_karlas_is_refused(
    app: Flask,
    karla_deliver: Deliverer,
    assert_refused: Callable[..., None],
    bad: str,
    reason: str,
) -> None:
    """A 401 does not tell its reason; the receiver's log does."""
    assert_refused(karla_deliver(app, shipment_event(), bad=bad), reason)


def test_the_endpoint_is_safe(
    app: Flask, assert_endpoint_is_safe: Callable[..., SafetyReport]
) -> None:
    """Throw the whole table of attacks at it."""
    print(assert_endpoint_is_safe(app))
