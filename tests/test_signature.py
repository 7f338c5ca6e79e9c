from __future__ import annotations

import hmac
import json
import math
from datetime import datetime
from functools import partial
from typing import Any, cast

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from karla_receiver import (
    ConfigurationError,
    KarlaReceiverError,
    Reason,
    SignatureError,
    Verified,
    Verifier,
    samples,
    sign,
)
from karla_receiver.signature import parse_header
from tests.attack_table import DATA
from tests.signing import NOW, SECRET

BODY = b'{"event_group":"shipment_delivered"}'
HEADER = sign(BODY, SECRET, timestamp=NOW)
ROWS = json.loads((DATA / "signatures.json").read_bytes())


def verifier(*secrets: str | bytes, now: float = NOW, tolerance: float = 300) -> Verifier:
    moments: list[float] = [NOW]
    made = Verifier(*(secrets or (SECRET,)), clock=lambda: moments[-1], tolerance=tolerance)
    moments.append(now)  # a clock may break after it was checked
    return made


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["file"])
def test_signatures_of_another_implementation_verify(row: Any) -> None:
    body = samples.read(row["file"].removesuffix(".json"))
    now = row["timestamp"]

    assert len(body) == row["body_bytes"]
    assert sign(body, row["secret"], timestamp=now) == row["header_value"]
    assert verifier(row["secret"], now=now).verify(body, row["header_value"]) == (now, 0)
    assert verifier(row["secret"], now=now).verify(body, [row["header_value"]]) == (now, 0)


@pytest.mark.parametrize("name", samples.names())
def test_every_sample_verifies_in_its_own_bytes_and_not_re_serialised(name: str) -> None:
    body = samples.read(name)
    header = sign(body, SECRET, timestamp=NOW)

    assert verifier().verify(body, header) == Verified(NOW, 0)
    again = json.dumps(json.loads(body), separators=(", ", ": "), indent=1).encode()
    with pytest.raises(SignatureError, match="signature_mismatch"):
        verifier().verify(again, header)


def test_it_tells_which_secret_matched() -> None:
    rotating = verifier("new-secret", SECRET)

    assert rotating.verify(BODY, HEADER) == Verified(timestamp=NOW, secret_index=1)
    assert rotating.verify(BODY, [HEADER]) == Verified(timestamp=NOW, secret_index=1)
    assert rotating.verify(BODY, sign(BODY, "new-secret", timestamp=NOW)).secret_index == 0


class Text(str):
    """A text of a class of its own."""

    __slots__ = ()


def test_the_header_may_come_as_text_bytes_or_several_lines() -> None:
    first, second = HEADER.split(",")
    forms: list[Any] = [
        HEADER,
        HEADER.encode(),
        [HEADER],
        [first, second],
        [first.encode(), second],
        Text(HEADER),  # as some frameworks have it
    ]
    for header in forms:
        assert verifier().verify(BODY, header).timestamp == NOW


@pytest.mark.parametrize("header", [None, "", " \t", [], b"", [""]])
def test_an_absent_or_empty_header_is_a_missing_signature(header: Any) -> None:
    with pytest.raises(SignatureError) as refusal:
        verifier().verify(BODY, header)
    assert refusal.value.reason is Reason.MISSING_SIGNATURE
    assert refusal.value.status == 401


@pytest.mark.parametrize("header", [5, [5], [None]])
def test_a_header_that_is_neither_text_nor_bytes_is_a_type_error(header: Any) -> None:
    with pytest.raises(TypeError):
        verifier().verify(BODY, header)


@pytest.mark.parametrize("body", ["{}", {"a": 1}, None, 5])
def test_a_body_that_is_not_bytes_is_refused_with_the_way_to_get_them(body: Any) -> None:
    for call in (lambda: verifier().verify(body, HEADER), lambda: sign(body, SECRET)):
        with pytest.raises(TypeError, match=r"request\.get_data\(\) in Flask"):
            call()


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_bytes_like_body_verifies(kind: Any) -> None:
    assert verifier().verify(kind(BODY), HEADER).timestamp == NOW


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (NOW + 300, None),
        (NOW - 300, None),
        (NOW + 300.001, Reason.TIMESTAMP_TOO_OLD),
        (NOW - 300.001, Reason.TIMESTAMP_IN_FUTURE),
        (math.inf, Reason.TIMESTAMP_TOO_OLD),
        (-math.inf, Reason.TIMESTAMP_IN_FUTURE),
        (math.nan, Reason.TIMESTAMP_TOO_OLD),
    ],
)
@pytest.mark.parametrize("header", [HEADER, [HEADER]], ids=["one line", "lines"])
def test_the_window_is_inclusive_both_ways_and_closed_to_a_broken_clock(
    now: float, reason: Reason | None, header: Any
) -> None:
    if reason is None:
        assert verifier(now=now).verify(BODY, header)
        return
    with pytest.raises(SignatureError) as refusal:
        verifier(now=now).verify(BODY, header)
    assert refusal.value.reason is reason
    assert math.isnan(now) or refusal.value.clock_skew == now - NOW


def test_a_tolerance_of_zero_means_zero() -> None:
    assert verifier(tolerance=0).verify(BODY, HEADER)
    with pytest.raises(SignatureError, match="timestamp_too_old"):
        verifier(tolerance=0, now=NOW + 1).verify(BODY, HEADER)


@pytest.mark.parametrize("tolerance", [-1, math.inf, math.nan, "300", None, True])
def test_a_tolerance_that_is_no_span_of_time_is_refused(tolerance: Any) -> None:
    with pytest.raises(ConfigurationError, match="tolerance"):
        Verifier(SECRET, tolerance=tolerance)


def test_a_clock_that_cannot_be_asked_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="clock"):
        Verifier(SECRET, clock=NOW)  # type: ignore[arg-type]


@pytest.mark.parametrize("timestamp", [-1, 10**15])
def test_a_timestamp_that_no_header_can_hold_is_refused(timestamp: int) -> None:
    with pytest.raises(ConfigurationError, match="timestamp"):
        sign(BODY, SECRET, timestamp=timestamp)


@pytest.mark.parametrize("timestamp", [0, 10**15 - 1])
def test_the_first_and_the_last_timestamp_can_be_signed_and_read(timestamp: int) -> None:
    header = sign(BODY, SECRET, timestamp=timestamp)
    assert verifier(now=timestamp).verify(BODY, header).timestamp == timestamp


def test_without_a_timestamp_the_present_is_signed() -> None:
    assert Verifier(SECRET).verify(BODY, sign(BODY, SECRET))


MALFORMED = {
    "a blank inside an unknown element": "foo=a b",
    "a tab inside an unknown element": "foo=a\tb",
    "a blank in a key": "f oo=a",
    "a separator in a key": "f(o=a",
}


@pytest.mark.parametrize("element", MALFORMED.values(), ids=MALFORMED)
def test_an_element_that_is_no_key_and_value_spoils_the_header(element: str) -> None:
    with pytest.raises(SignatureError, match="malformed_header"):
        verifier().verify(BODY, f"{HEADER},{element}")


def padded(size: int) -> str:
    return f"{HEADER},a=".ljust(size, "x")


# Each: a header at its limit, which verifies, and one beyond it, which does not.
LIMITS = {
    "4096 bytes": (padded(4096), padded(4097)),
    "32 elements": (HEADER + ",a=b" * 30, HEADER + ",a=b" * 31),
    "16 elements v1": (HEADER + ",v1=00" * 15, HEADER + ",v1=00" * 16),
    "1 element t": (HEADER, f"{HEADER},t={NOW}"),
    "empty elements": (f",{HEADER}, ,\t," + "," * 100, f"{HEADER},="),
    "an unknown element": (f"{HEADER},v0=,x=!~=", f"{HEADER},v0"),
    "blanks around an element": (HEADER.replace(",", " \t,\t "), HEADER.replace(",", ",\v")),
    "hex digits in either case": (HEADER[:-64] + HEADER[-64:].upper(), HEADER[:-1] + "g"),
    "64 hex digits": (HEADER, HEADER + "0"),
}


@pytest.mark.parametrize(("good", "bad"), LIMITS.values(), ids=LIMITS)
def test_a_header_is_read_up_to_a_limit_and_not_beyond(good: str, bad: str) -> None:
    assert verifier().verify(BODY, good) == Verified(NOW, 0)
    assert verifier().verify(BODY, [good]) == Verified(NOW, 0)
    with pytest.raises(SignatureError) as refusal:
        verifier().verify(BODY, bad)
    assert refusal.value.reason is Reason.MALFORMED_HEADER


@pytest.mark.parametrize(
    "timestamp",
    ["", "-1", "+1", "01", "00", "1.0", "1e3", "1_0", "0x1", "1\u0661", "1\xb2", "1" * 16, "1 0"],
)
def test_a_timestamp_is_a_plain_decimal_number_even_if_it_was_signed(timestamp: str) -> None:
    mac = hmac.digest(SECRET.encode(), timestamp.encode() + b"." + BODY, "sha256").hex()
    with pytest.raises(SignatureError) as refusal:
        verifier(tolerance=10**16).verify(BODY, f"t={timestamp},v1={mac}")
    assert refusal.value.reason is Reason.MALFORMED_HEADER


@pytest.mark.parametrize("header", [f"t={NOW}", f"t={NOW},v0=00", f"t={NOW},V1=00"])
def test_a_header_without_v1_says_so(header: str) -> None:
    with pytest.raises(SignatureError) as refusal:
        verifier().verify(BODY, header)
    assert refusal.value.reason is Reason.NO_V1


@pytest.mark.parametrize("place", [0, 1, 2])
def test_every_v1_is_tried_with_every_secret(place: int) -> None:
    forged = ["v1=" + "0" * 64, "v1=" + "f" * 64]
    forged.insert(place, HEADER.partition(",")[2])
    secrets = ["one-secret", "two-secret"]
    secrets.insert(place, SECRET)

    header = ",".join([f"t={NOW}", *forged])
    assert verifier(*secrets).verify(BODY, header).secret_index == place


@pytest.mark.parametrize("place", [0, 15, 16, 31])
def test_every_byte_of_the_digest_counts(place: int) -> None:
    digest = bytearray.fromhex(HEADER[-64:])
    digest[place] ^= 1
    header = HEADER[:-64] + digest.hex()
    forms: list[Any] = [header, [header]]
    for form in forms:
        with pytest.raises(SignatureError) as refusal:
            verifier(now=NOW + 5).verify(BODY, form)
        assert refusal.value.reason is Reason.SIGNATURE_MISMATCH
        assert refusal.value.clock_skew == 5


@pytest.mark.parametrize("header", [HEADER, f"t={NOW},v1={'0' * 64}"])
@pytest.mark.parametrize("form", [str, lambda header: [header]], ids=["one line", "lines"])
def test_nothing_but_the_comparison_in_constant_time_tells_whether_digests_are_equal(
    monkeypatch: pytest.MonkeyPatch, header: str, form: Any
) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def never_equal(given: bytes, expected: bytes) -> bool:
        compared.append((given, expected))
        return False

    monkeypatch.setattr("karla_receiver.signature.compare_digest", never_equal)
    with pytest.raises(SignatureError, match="signature_mismatch"):
        verifier().verify(BODY, form(header))
    assert compared == [(bytes.fromhex(header[-64:]), bytes.fromhex(HEADER[-64:]))]


DETAILS: list[tuple[Any, str]] = [
    (None, "missing_signature: the Karla-Signature header is absent or empty"),
    ("x" * 4097, "malformed_header: longer than 4096 bytes"),
    ("a=b," * 33, "malformed_header: more than 32 elements"),
    ("v1=00", "malformed_header: 0 elements t, where there must be one"),
    ("t=1,t=2", "malformed_header: 2 elements t, where there must be one"),
    ("t=x", "malformed_header: t is not a plain decimal number of at most 15 digits"),
    ("t=1", "no_v1: no element v1 beside t"),
    ("t=1" + ",v1=" * 17, "malformed_header: more than 16 elements v1"),
    ("t=1,v1=00", "malformed_header: no v1 has 64 hex digits"),
    ("t=1,?", "malformed_header: an element that is not key=value"),
    (
        f"t={NOW},v1=" + "0" * 64,
        "signature_mismatch: no v1 is the MAC of this body under a configured secret",
    ),
]


@pytest.mark.parametrize(("header", "said"), DETAILS, ids=[said for _, said in DETAILS])
def test_a_refusal_says_what_was_found(header: Any, said: str) -> None:
    with pytest.raises(SignatureError) as refusal:
        verifier().verify(BODY, header)
    assert str(refusal.value) == said


@pytest.mark.parametrize(("now", "sign_of_skew"), [(NOW - 300.5, "-"), (NOW + 300.5, "+")])
def test_a_refusal_for_its_time_says_by_how_much(now: float, sign_of_skew: str) -> None:
    with pytest.raises(SignatureError) as refusal:
        verifier(now=now).verify(BODY, HEADER)
    assert refusal.value.detail == f"signed {sign_of_skew}300.5 s from our clock, 300 allowed"


def test_a_header_that_only_looks_blank_is_malformed() -> None:
    for header in ("\n", "\x0b", "\xa0", "X"):
        with pytest.raises(SignatureError, match="malformed_header"):
            verifier().verify(BODY, header)
        with pytest.raises(SignatureError, match="malformed_header"):
            verifier().verify(BODY, f"{HEADER},{header}")


def test_what_is_half_a_second_ahead_of_no_tolerance_is_in_the_future() -> None:
    for skew, reason in ((-0.5, "timestamp_in_future"), (0.5, "timestamp_too_old")):
        with pytest.raises(SignatureError, match=reason):
            verifier(tolerance=0, now=NOW + skew).verify(BODY, HEADER)


def test_the_tolerance_is_five_minutes_unless_said_otherwise() -> None:
    assert Verifier(SECRET, clock=lambda: NOW + 300).verify(BODY, HEADER)
    with pytest.raises(SignatureError, match="300 allowed"):
        Verifier(SECRET, clock=lambda: NOW + 301).verify(BODY, HEADER)


def test_replaced_secrets_are_gone_and_unusable_ones_change_nothing() -> None:
    rotating = verifier("new-secret")
    rotating.replace_secrets("another-secret", SECRET)
    assert rotating.verify(BODY, HEADER).secret_index == 1
    with pytest.raises(ConfigurationError, match="secret 2 is empty"):
        rotating.replace_secrets("new-secret", "")
    assert rotating.verify(BODY, HEADER).secret_index == 1
    with pytest.raises(SignatureError, match="signature_mismatch"):
        rotating.verify(BODY, sign(BODY, "new-secret", timestamp=NOW))


@pytest.mark.parametrize(
    ("misuse", "said"),
    [
        (
            lambda: Verifier(SECRET, tolerance="5"),  # type: ignore[arg-type]
            "tolerance must be a number of seconds, finite, not negative",
        ),
        (
            lambda: Verifier(SECRET, tolerance=-1),
            "tolerance must be a number of seconds, finite, not negative",
        ),
        (
            lambda: Verifier(SECRET, tolerance=10**400),
            "tolerance must be a number of seconds, finite, not negative",
        ),
        (
            lambda: Verifier(SECRET, clock=5),  # type: ignore[arg-type]
            "clock must be a function that returns unix seconds; it raised TypeError",
        ),
        (
            lambda: Verifier(SECRET, clock=datetime.now),  # type: ignore[arg-type]
            "clock must return unix seconds as a number, as time.time does, not a datetime or"
            " anything else",
        ),
        (
            lambda: Verifier(SECRET, clock=lambda: math.nan),
            "clock must return unix seconds as a number, as time.time does, not a datetime or"
            " anything else",
        ),
        *(
            (
                partial(sign, BODY, SECRET, timestamp=cast("int", timestamp)),
                "timestamp must be whole unix seconds between 0 and 999999999999999",
            )
            for timestamp in (-1, 10**15, True, 1.5, "1")
        ),
        (
            lambda: parse_header([5]),  # type: ignore[list-item]
            "a signature header is str or bytes, not int",
        ),
    ],
)
def test_a_misuse_is_told_what_is_right(misuse: Any, said: str) -> None:
    with pytest.raises((ConfigurationError, TypeError)) as refusal:
        misuse()
    assert str(refusal.value) == said


def test_a_stale_forgery_is_a_forgery() -> None:
    """Freshness comes after the MAC: a stranger must not learn what our clock shows."""
    for now in (NOW + 10_000, NOW - 10_000):
        with pytest.raises(SignatureError) as refusal:
            verifier(now=now).verify(BODY + b" ", HEADER)
        assert refusal.value.reason is Reason.SIGNATURE_MISMATCH


def test_a_text_header_beyond_latin_1_is_malformed_like_any_other() -> None:
    with pytest.raises(SignatureError, match="malformed_header"):
        verifier().verify(BODY, HEADER + ",a=\U0001f511")


def test_what_was_kept_is_verified_as_at_its_receipt() -> None:
    late, header = verifier(now=NOW + 10_000), parse_header(HEADER)
    assert late.verify_parsed(BODY, header, now=NOW + 300).timestamp == NOW
    for now in (NOW - 301, NOW + 301):
        with pytest.raises(SignatureError, match="timestamp_"):
            late.verify_parsed(BODY, header, now=now)


# --- properties ----------------------------------------------------------------------------------


def is_usable(secret: str) -> bool:
    """Return whether a secret is none of those that are refused: see tests/test_keys.py."""
    return bool(secret.strip("\0")) and secret.strip() == secret and secret[0] != "\ufeff"


SECRETS = st.text(st.characters(codec="utf-8"), max_size=64).filter(is_usable)


@given(
    body=st.binary(max_size=2048),
    secret=SECRETS,
    timestamp=st.integers(0, 10**15 - 1),
    skew=st.integers(-300, 300),
)
def test_what_is_signed_verifies_anywhere_in_the_window(
    body: bytes, secret: str, timestamp: int, skew: int
) -> None:
    header = sign(body, secret, timestamp=timestamp)
    assert verifier(secret, now=timestamp + skew).verify(body, header).timestamp == timestamp


@given(data=st.data(), body=st.binary(min_size=1, max_size=200))
def test_a_single_change_of_the_body_is_refused(data: st.DataObject, body: bytes) -> None:
    place = data.draw(st.integers(0, len(body) - 1))
    changed = bytearray(body)
    changed[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SignatureError, match="signature_mismatch"):
        verifier().verify(bytes(changed), sign(body, SECRET, timestamp=NOW))


@given(data=st.data(), secret=SECRETS)
def test_a_single_change_of_the_secret_is_refused(data: st.DataObject, secret: str) -> None:
    place = data.draw(st.integers(0, len(secret) - 1))
    changed = secret[:place] + data.draw(st.characters(codec="utf-8")) + secret[place + 1 :]
    assume(is_usable(changed))
    # A key is padded with NUL: one at the end makes no difference to HMAC.
    assume(changed.rstrip("\0") != secret.rstrip("\0"))
    with pytest.raises(SignatureError, match="signature_mismatch"):
        verifier(changed).verify(BODY, sign(BODY, secret, timestamp=NOW))


@given(timestamp=st.integers(0, 10**15 - 1), changed=st.integers(0, 10**15 - 1))
def test_another_timestamp_than_the_signed_one_is_refused(timestamp: int, changed: int) -> None:
    assume(timestamp != changed)
    _, _, signature = sign(BODY, SECRET, timestamp=timestamp).partition(",")
    with pytest.raises(SignatureError, match="signature_mismatch"):
        verifier(now=changed).verify(BODY, f"t={changed},{signature}")


@given(place=st.integers(0, len(HEADER) - 1), character=st.characters(max_codepoint=255))
def test_a_single_change_of_the_header_never_verifies_as_something_else(
    place: int, character: str
) -> None:
    changed = HEADER[:place] + character + HEADER[place + 1 :]
    assume(changed.lower() != HEADER)
    with pytest.raises(SignatureError):
        verifier(tolerance=10**15).verify(BODY, changed)


@given(
    header=st.one_of(
        st.none(),
        st.text(),
        st.binary(),
        st.lists(st.one_of(st.text(), st.binary())),
        st.text("tv01=, \t29af", max_size=200),
        st.lists(st.sampled_from([*HEADER.split(","), "v1=00", "t=1", "", "a=b"]), max_size=40),
    ),
    body=st.binary(),
)
def test_no_header_and_no_body_raise_anything_but_our_own_error(header: Any, body: bytes) -> None:
    try:
        verified = verifier().verify(body, header)
    except KarlaReceiverError as refusal:
        assert isinstance(refusal, SignatureError)
    else:
        expected = hmac.digest(SECRET.encode(), b"%d." % verified.timestamp + body, "sha256")
        assert expected.hex() in str(header).lower()


USUAL_HEADERS = st.builds(
    lambda timestamp, signature, comma: f"t={timestamp}{comma}v1={signature}",
    st.one_of(
        st.from_regex(r"\A[0-9]{9,11}\Z"),
        st.integers(NOW - 302, NOW + 302).map(str),
        st.text("0123456789 _+-\u0661", min_size=9, max_size=11),
    ),
    st.one_of(
        st.from_regex(r"\A[0-9a-fA-F]{63,65}\Z"), st.text("0aAg, \u0661", min_size=64, max_size=64)
    ),
    st.sampled_from([",", ";", " ,"]),
)


def outcome(function: Any, *arguments: Any) -> object:
    try:
        return function(*arguments)
    except SignatureError as refusal:
        return (refusal.reason, refusal.detail, refusal.clock_skew)


@given(text=st.one_of(USUAL_HEADERS, st.text("tv1=,09a ", max_size=90)), data=st.data())
def test_the_short_way_through_a_usual_header_agrees_with_the_long_one(
    text: str, data: st.DataObject
) -> None:
    if data.draw(st.booleans()):  # sign it, whatever its timestamp looks like
        prefix = text.partition("t=")[2].partition(",")[0] + "."
        mac = hmac.digest(SECRET.encode(), prefix.encode() + BODY, "sha256").hex()
        text = text.partition("v1=")[0] + "v1=" + data.draw(st.sampled_from([mac, mac.upper()]))
    both = Verifier("another-secret", SECRET, clock=lambda: NOW)

    # With a blank before it, which means nothing, a header always goes the long way.
    assert outcome(parse_header, text) == outcome(parse_header, " " + text)
    assert outcome(both.verify, BODY, text) == outcome(both.verify, BODY, " " + text)
