"""What the line of a refused delivery says beyond "it does not match", for the receiver's owner."""

from __future__ import annotations

import pytest

from karla_receiver import Receiver, Request, SignatureError, Verifier
from tests.signing import BODY, NOW, SECRET, signature_header, signed

UUID = "41013bd9-9072-42cd-9902-66da38361be9"
QUOTES = "is in quotes, which count: take them off if they are not Karla's"
ASSIGNMENT = "looks like NAME=value: pass the value alone"
SHORT = "is shorter than 16 characters, as none of Karla's is"
MISMATCH = "no v1 is the MAC of this body under a configured secret"


def line_of(
    caplog: pytest.LogCaptureFixture, *secrets: str | bytes, request: Request | None = None
) -> str:
    receiver = Receiver(*secrets, clock=lambda: NOW)
    receiver.receive(request or signed(secret="another-secret-of-Karla's", timestamp=NOW))
    (record,) = caplog.records
    return record.getMessage()


@pytest.mark.parametrize(
    ("secret", "hint"),
    [
        (f'"{UUID}"', QUOTES),
        (f"'{UUID}'", QUOTES),
        (f"'{UUID}'".encode(), QUOTES),
        (f"KARLA_WEBHOOK_SECRET={UUID}", ASSIGNMENT),
        (f"KARLA_WEBHOOK_SECRET={UUID}".encode(), ASSIGNMENT),
        (f"export SECRET={UUID}", ASSIGNMENT),
        (f'SECRET="{UUID}"', ASSIGNMENT),
        ("x" * 15, SHORT),
        ('"', SHORT),
    ],
)
def test_an_odd_secret_is_named_by_its_place_and_its_form(
    caplog: pytest.LogCaptureFixture, secret: str | bytes, hint: str
) -> None:
    line = line_of(caplog, SECRET, secret)

    assert line.endswith(f": {MISMATCH}; secret 2 {hint}")
    assert UUID not in line
    assert "xxx" not in line
    assert "\n" not in line


@pytest.mark.parametrize(
    "secret",
    [
        "x" * 16,
        UUID,
        UUID.upper(),
        "QUJDREVGR0hJSktMTU4=",
        "QUJDREVGR0hJSktMTQ==",
        f'"{UUID}',
        "a=b" * 8,
    ],
)
def test_a_secret_as_karlas_are_has_no_hint(caplog: pytest.LogCaptureFixture, secret: str) -> None:
    assert line_of(caplog, secret).endswith(f": {MISMATCH}")


def test_each_odd_secret_is_named_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    line = line_of(caplog, "short", SECRET, f'"{UUID}"')
    assert line.endswith(f"; secret 1 {SHORT}; secret 3 {QUOTES}")


def test_secrets_that_are_replaced_are_looked_at_anew() -> None:
    verifier = Verifier("short")
    verifier.replace_secrets(f'"{UUID}"')
    with pytest.raises(SignatureError, match=f"secret 1 {QUOTES}") as refusal:
        verifier.verify(BODY, f"t={NOW},v1={'0' * 64}")
    assert SHORT not in str(refusal.value)


def test_a_genuine_delivery_under_an_odd_secret_is_accepted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    secret = f'"{UUID}"'
    receiver = Receiver(secret)
    receiver.on("*")(lambda event: None)
    assert receiver.receive(signed(secret=secret)).status == 200
    assert caplog.records == []


def empty(**headers: str) -> Request:
    given = {**signature_header(timestamp=NOW), **headers}
    return Request("POST", given, b"")


def test_a_body_that_something_has_read_before_is_named(caplog: pytest.LogCaptureFixture) -> None:
    line = line_of(caplog, SECRET, request=empty(**{"Content-Length": "1874"}))
    assert line.endswith(
        f": {MISMATCH}; the body was empty, and 1874 bytes were declared: what reads it first?"
    )


@pytest.mark.parametrize("headers", [{}, {"Content-Length": "0"}])
def test_an_empty_body_of_which_nothing_was_declared_has_no_hint(
    caplog: pytest.LogCaptureFixture, headers: dict[str, str]
) -> None:
    assert line_of(caplog, SECRET, request=empty(**headers)).endswith(f": {MISMATCH}")


def test_only_a_mismatch_has_a_hint(caplog: pytest.LogCaptureFixture) -> None:
    line = line_of(caplog, "short", request=Request("POST", {"Content-Length": "9"}, b""))
    assert line.endswith(": the Karla-Signature header is absent or empty")
