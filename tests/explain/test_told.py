"""What is not found out but told: the reason for which a receiver refused it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from karla_receiver import ConfigurationError, Reason, sign
from karla_receiver.explain import Code, Explanation, explain
from tests.explain.received import COMPACT, GENUINE, MISMATCH, OTHER_HEADER, SECRET
from tests.signing import NOW

OF_THE_SIGNATURE = {
    Reason.MISSING_SIGNATURE,
    Reason.MALFORMED_HEADER,
    Reason.NO_V1,
    Reason.SIGNATURE_MISMATCH,
    Reason.TIMESTAMP_TOO_OLD,
    Reason.TIMESTAMP_IN_FUTURE,
}
OTHERS = sorted(set(Reason) - OF_THE_SIGNATURE)
TOLD = {
    *map(Code, OTHERS),
    *(Code.VERIFIES_HERE, Code.NO_HEADER, Code.MALFORMED_HEADER, Code.NO_V1),
}


def explained(body: bytes = COMPACT, header: Any = GENUINE.header, **options: Any) -> Explanation:
    return explain(body, header, SECRET, now=NOW, **options)


def codes(explanation: Explanation) -> list[Code]:
    return [cause.code for cause in explanation.causes]


@pytest.mark.parametrize("reason", OTHERS)
def test_what_is_refused_for_another_reason_does_not_verify(reason: Reason) -> None:
    explanation = explained(refused=reason)
    assert (explanation.reason, explanation.verifies) == (reason, False)
    assert codes(explanation) == [Code(reason)]
    assert explanation.is_proven


def test_of_a_forgery_that_is_refused_for_another_reason_nothing_is_proven() -> None:
    explanation = explained(header=OTHER_HEADER, refused="method_not_allowed")
    assert codes(explanation) == [Code.METHOD_NOT_ALLOWED]
    assert not explanation.is_proven


def test_what_is_wrong_with_a_body_that_is_no_event_is_told() -> None:
    for body, reason, evidence in (
        (b"{}}", "invalid_json", "JSON is malformed: trailing characters (byte 3)"),
        (b"[]", "invalid_envelope", "not an object"),
        (COMPACT, "invalid_json", "the receiver refused it as invalid_json"),
    ):
        (cause,) = explained(body, sign(body, SECRET, timestamp=NOW), refused=reason).causes
        assert cause.evidence == evidence


def test_what_verifies_here_and_was_refused_says_so() -> None:
    explanation = explained(refused=MISMATCH)
    assert (explanation.reason, codes(explanation)) == (MISMATCH, [Code.VERIFIES_HERE])
    assert explanation.is_proven


def test_what_was_refused_for_its_signature_is_searched_for_the_cause() -> None:
    explanation = explained(COMPACT + b"\n", refused=MISMATCH)
    assert codes(explanation) == [Code.NEWLINES_CHANGED]


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, Code.NO_HEADER),
        ("Bearer abc", Code.MALFORMED_HEADER),
        (f"t={NOW}", Code.NO_V1),
    ],
)
def test_a_header_that_nothing_repairs_is_what_is_wrong(header: str | None, code: Code) -> None:
    for is_whole in (True, False):
        assert codes(explained(header=header, is_whole=is_whole)) == [code]


@pytest.mark.parametrize("reason", [None, MISMATCH, Reason.BODY_TOO_LARGE])
def test_the_beginning_of_a_body_proves_nothing(reason: Reason | None) -> None:
    explanation = explained(COMPACT[:-9], refused=reason, is_whole=False)
    assert [hint.code for hint in explanation.hints] == [Code.BODY_CUT]
    assert explanation.reason == (reason or MISMATCH)
    assert (explanation.is_proven, explanation.tried) == (False, 0)


def test_a_body_whose_signature_fits_is_whole() -> None:
    assert explained(is_whole=False).verifies
    assert explained(refused="body_too_large", is_whole=False).hints == ()


def test_an_unknown_reason_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="refused must be a reason, not 'forged'"):
        explained(refused="forged")


def test_an_algorithm_that_the_interpreter_lacks_proves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("karla_receiver.explain.search.ALGORITHMS", {40: "none", 64: "sha256"})
    received = replace(GENUINE, header=f"t={NOW},v1={'ab' * 20}")
    assert not received.explained().is_proven
