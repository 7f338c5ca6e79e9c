"""Other implementations as judges: stripe-python, whose scheme is the same, and a naive one."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st

from karla_receiver import SignatureError, Verifier, samples, sign
from tests import reference
from tests.attack_table import DATA, Case, load_cases
from tests.signing import NOW, SECRET

BODY = samples.read("shipment_unicode_names")


def ours(body: bytes, header: Any, secrets: list[Any], now: float) -> str:
    try:
        Verifier(*secrets, clock=lambda: now).verify(body, header)
    except SignatureError as refusal:
        return str(refusal.reason)
    return "accept"


HEADERS = [case for case in load_cases("core") if case.expect["reason"] != "config_error"]


def key_of(secret: Any) -> bytes:
    return secret if isinstance(secret, bytes) else str(secret).encode()


@pytest.mark.parametrize("case", [case for case in HEADERS if case.header_lines], ids=str)
def test_the_naive_verifier_agrees_on_every_case_of_the_table(case: Case) -> None:
    header = ",".join(case.header_lines)
    secrets = [key_of(secret) for secret in case.secrets]
    verdict = reference.verdict(case.body, header, secrets, case.now)

    assert ours(case.body, case.header_lines, case.secrets, case.now) == verdict


GENUINE = sign(BODY, SECRET, timestamp=NOW)
PIECES = [
    *GENUINE.split(","),
    GENUINE[13:].upper(),
    "v1=00",
    "v1=" + "0" * 64,
    "t=1",
    "a=b",
    "",
    " ",
]


@given(
    header=st.one_of(
        st.lists(st.sampled_from(PIECES), max_size=36).map(",".join),
        st.lists(st.sampled_from(PIECES), max_size=5).map(" ,\t".join),
        st.text("tv1=,0 \t~!(\x7f\xe9aF", max_size=40),
        st.text("tv1=,0 \t~!(\x7f\xe9aF", max_size=12).map(lambda text: GENUINE + "," + text),
    ),
    skew=st.sampled_from([0, 300, -300, 300.5, -300.5, 301]),
)
def test_the_naive_verifier_agrees_on_any_header(header: str, skew: float) -> None:
    secrets = [b"another-secret", SECRET.encode()]
    expected = reference.verdict(BODY, header, secrets, NOW + skew)
    assert ours(BODY, header, secrets, NOW + skew) == expected


# --- stripe-python -------------------------------------------------------------------------------

# Each case on which stripe-python says otherwise, what it says, and why we do not.
DIVERGENCES: dict[str, dict[str, str]] = json.loads((DATA / "stripe_divergences.json").read_bytes())


def stripes(case: Case, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("stripe._webhook.time.time", lambda: case.now)
    (secret,) = case.secrets
    try:
        stripe.WebhookSignature.verify_header(
            case.body, case.header_lines[0], str(secret), tolerance=300
        )
    except stripe.SignatureVerificationError:
        return "reject"
    except Exception as error:  # noqa: BLE001 - a crash is a verdict here
        return f"crash: {type(error).__name__}"
    return "accept"


# It takes one header line, and secrets one by one as text.
COMPARABLE = [
    case
    for case in HEADERS
    if len(case.header_lines) == 1 and len(case.secrets) == 1 and isinstance(case.secrets[0], str)
]


@pytest.mark.parametrize("case", COMPARABLE, ids=str)
def test_stripes_verifier_agrees_but_for_the_divergences_that_are_justified(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdict = ours(case.body, case.header_lines[0], case.secrets, case.now)
    accepted = "accept" if verdict == "accept" else "reject"
    theirs = stripes(case, monkeypatch)

    if case.id in DIVERGENCES:
        assert theirs == DIVERGENCES[case.id]["stripe"] != accepted
    else:
        assert theirs == accepted


def test_each_divergence_is_of_a_case_that_is_compared_and_has_its_reason() -> None:
    assert set(DIVERGENCES) <= {case.id for case in COMPARABLE}
    assert len(COMPARABLE) > 200
    for divergence in DIVERGENCES.values():
        assert len(divergence["why"]) > 20


@given(body=st.text(st.characters(codec="utf-8")))
def test_stripe_accepts_what_we_sign(body: str) -> None:
    raw = body.encode()
    header = sign(raw, SECRET, timestamp=int(time.time()))
    assert stripe.WebhookSignature.verify_header(raw, header, SECRET, tolerance=300)
    assert Verifier(SECRET).verify(raw, header)
