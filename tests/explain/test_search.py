"""How far is searched, and that nothing is found where there is nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from karla_receiver import ConfigurationError, SignatureError, Verifier, sign
from karla_receiver.explain import Code, Explanation, explain
from karla_receiver.explain.headers import as_lines, readings
from karla_receiver.explain.search import _MAX_HASHES  # pyright: ignore[reportPrivateUsage]
from tests.attack_table import Case, load_cases
from tests.explain.received import (
    COMPACT,
    GENUINE,
    MISMATCH,
    SECRET,
    compact,
    in_gzip,
    of,
    redumped,
    with_body,
    wrapped,
)
from tests.signing import NOW


@pytest.mark.slow
@pytest.mark.parametrize("case", load_cases("core"), ids=str)
def test_on_the_table_of_attacks_the_reason_is_the_verifiers(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("karla_receiver.explain.search._MAX_HASHES", 0)  # the reason needs none

    def reason(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        try:
            result = function(*arguments, **options)
        except SignatureError as error:
            return error.reason
        except (ConfigurationError, TypeError) as error:
            return type(error)
        return result.reason if isinstance(result, Explanation) else None

    def verify() -> object:
        secrets: Any = case.secrets
        return Verifier(*secrets, clock=lambda: case.now).verify(case.body, case.header_lines)

    verdict = reason(verify)
    secrets: Any = case.secrets
    explained = reason(explain, case.body, case.header_lines, *secrets, now=case.now)
    if verdict is ConfigurationError and explained is not ConfigurationError:
        # Blanks around a secret make no verifier, and are what there is to explain.
        assert any(secret.strip() != secret for secret in secrets)
    else:
        assert explained == verdict


def test_what_verifies_needs_no_explanation() -> None:
    explanation = GENUINE.explained()
    assert explanation == Explanation(reason=None)
    assert explanation.verifies


def test_a_forgery_has_no_known_cause() -> None:
    forged = replace(GENUINE, header=sign(COMPACT, "of the forger", timestamp=NOW)).explained()

    assert (forged.reason, forged.causes, forged.hints) == (MISMATCH, (), ())
    assert forged.is_complete
    assert 1000 < forged.tried < _MAX_HASHES
    assert not forged.verifies


def test_a_changed_value_has_no_known_cause() -> None:
    received = with_body(lambda body: body.replace(b"54.8", b"54.9"))
    assert received.explained().causes == ()


@pytest.mark.slow
def test_the_search_is_bounded_and_says_when_it_ends_early() -> None:
    body = b'{"a": "' + b"x" * 8_000_000 + b'"}'
    explanation = explain(body, sign(body, "of the forger", timestamp=NOW), SECRET, now=NOW)

    assert explanation.causes == ()
    assert not explanation.is_complete


def test_a_lambda_event_within_a_lambda_event_is_not_searched_for_ever() -> None:
    body = COMPACT
    for _ in range(6):
        body = wrapped(body, in_base64=False)
    assert with_body(lambda _: body).explained().causes == ()


@pytest.mark.parametrize("bound", ["_MAX_CANDIDATE_BYTES", "_MAX_HASHED_BYTES", "_MAX_HASHES"])
def test_each_bound_ends_the_search(bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    forged = replace(GENUINE, secret="of the receiver")
    monkeypatch.setattr(f"karla_receiver.explain.search.{bound}", 300)
    explanation = forged.explained()
    assert not explanation.is_complete
    assert explanation.tried <= 300


def test_a_large_envelope_is_not_searched_to_its_end() -> None:
    received = with_body(lambda body: compact({"items": [*range(2000), {"body": body.decode()}]}))
    assert received.explained().causes == ()
    received = with_body(lambda body: compact({"items": [*range(500), {"body": body.decode()}]}))
    assert [each.code for each in received.explained().causes] == [Code.WRAPPED_BODY]


def test_an_object_of_many_keys_teaches_no_order() -> None:
    many = {f"key-{number}": number for number in range(99, 0, -1)}
    received = replace(with_body(redumped(sort_keys=True), compact(many)), like=(compact(many),))
    assert received.explained().causes == ()
    few = dict(list(many.items())[:50])
    received = replace(with_body(redumped(sort_keys=True), compact(few)), like=(compact(few),))
    assert [each.code for each in received.explained().causes] == [Code.KEYS_REORDERED]


def test_a_reading_shows_no_signature() -> None:
    (reading,) = readings(as_lines(GENUINE.header), [])
    assert repr(reading) == "<Reading with 1 digests>"


# Each undoes nothing but itself, so that what a body looked like before does not matter.
MANGLINGS: tuple[tuple[Code, Callable[[bytes], bytes]], ...] = (
    (Code.NEWLINES_CHANGED, lambda body: body + b"\n"),
    (Code.BYTE_ORDER_MARK, lambda body: b"\xef\xbb\xbf" + body),
    (Code.COMPRESSION_CHANGED, in_gzip),
    (Code.ENCODED_BODY, base64.b64encode),
    (Code.JSON_IN_STRING, lambda body: json.dumps(body.decode()).encode()),
    (Code.WRAPPED_BODY, lambda body: wrapped(body, in_base64=True)),
    (Code.ENCODED_BODY, lambda body: urlencode({"payload": body.decode()}).encode()),
    (Code.PYTHON_REPR, lambda body: repr(body).encode()),
    (Code.JSON_RESERIALISED, redumped(indent=2)),
)


EVENTS = st.dictionaries(
    st.text(),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    ),
    min_size=1,
)


@pytest.mark.slow
@settings(max_examples=50)
@given(event=EVENTS, mangling=st.sampled_from(MANGLINGS))
def test_whatever_is_mangled_in_a_known_way_is_diagnosed_as_that(
    event: dict[str, Any], mangling: tuple[Code, Callable[[bytes], bytes]]
) -> None:
    code, mangle = mangling
    explanation = with_body(mangle, compact(event)).explained()
    assert [each.code for each in explanation.causes] == [code]


@pytest.mark.slow
@settings(max_examples=15)
@given(event=EVENTS, mangling=st.sampled_from(MANGLINGS))
def test_whatever_is_forged_is_never_diagnosed(
    event: dict[str, Any], mangling: tuple[Code, Callable[[bytes], bytes]]
) -> None:
    body = compact(event)
    forged = replace(of(body), body=mangling[1](body), secret="of the receiver")
    assert forged.explained().causes == ()


@pytest.mark.slow
@settings(max_examples=40)
@given(body=st.binary() | EVENTS.map(compact), header=st.text() | st.binary() | st.none())
def test_nothing_that_is_received_makes_it_raise(body: bytes, header: Any) -> None:
    explanation = explain(body, header, SECRET, now=NOW, headers=[("x", str(header))])
    assert explanation.reason is not None
    assert not explanation.is_proven
