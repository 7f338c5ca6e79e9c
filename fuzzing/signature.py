"""The header's parser and the verifier, against the reference in `tests/reference.py`.

An input is: one octet for the clock; header lines, each ended by CRLF; an empty line; the body. A
fuzzer cannot guess a MAC, so `$0` to `$4` in a header line stand for one, as in MARKS.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from fuzzing.promises import Target, promise
from karla_receiver import SignatureError, Verified, Verifier
from tests import reference
from tests.attack_table import Case, load_cases

NOW = 1_700_000_000
SECRETS = (b"the-new-secret-0123456789", b"the-old-secret-0123456789")
STRANGERS = b"the-secret-of-a-stranger"

# How far the clock is from the timestamp in the header, in seconds.
SKEWS = (0, 300, -300, 300.001, -300.001, 10.0**9, -(10.0**9))

MARKS: dict[str, Callable[[bytes, str], str]] = {
    "$0": lambda body, timestamp: reference.macs(body, timestamp, SECRETS)[0],
    "$1": lambda body, timestamp: reference.macs(body, timestamp, SECRETS)[1],
    "$2": lambda body, timestamp: reference.macs(body, timestamp, SECRETS)[0].upper(),
    "$3": lambda body, timestamp: reference.macs(body, timestamp, [STRANGERS])[0],
    "$4": lambda body, timestamp: reference.macs(timestamp.encode("latin-1"), "", SECRETS)[0],
}

Header: TypeAlias = str | bytes | Sequence[str | bytes] | None
Verify: TypeAlias = Callable[[bytes, Header, float], Verified]


class Delivery(NamedTuple):
    """What an input stands for; the header lines are text of code points 0 to 255."""

    lines: list[str]
    body: bytes
    now: float


def read(data: bytes) -> Delivery:
    """Read an input; any bytes are one."""
    head, _, body = data[1:].partition(b"\r\n\r\n")
    text = head.decode("latin-1")
    found = re.search("t=([^,\r\n]*)", text)
    timestamp = found[1] if found else str(NOW)
    for mark, mac in MARKS.items():
        if mark in text:
            text = text.replace(mark, mac(body, timestamp))
    moment = int(timestamp) if re.fullmatch("[0-9]{1,15}", timestamp) else NOW
    place = data[0] - ord("0") if data else 0
    return Delivery(text.split("\r\n"), body, moment + SKEWS[place % len(SKEWS)])


def verify(body: bytes, header: Header, now: float) -> Verified:
    """Verify as a user does."""
    return Verifier(*SECRETS, clock=lambda: now).verify(body, header)


def check(data: bytes, verify: Verify = verify) -> str:
    """Check the promises on one input and return the verdict."""
    lines, body, now = read(data)
    text = ",".join(lines)
    expected = reference.verdict(body, text, SECRETS, now)
    forms: list[Header] = [text, text.encode("latin-1"), [text], lines]
    for form in forms:
        found = _verdict(body, form, text, now, verify)
        promise(found == expected, f"{found} for {type(form).__name__}, where {expected} is right")
    return expected


def _verdict(body: bytes, header: Header, text: str, now: float, verify: Verify) -> str:
    try:
        verified = verify(body, header, now)
    except SignatureError as refusal:
        promise(refusal.status == 401, f"{refusal.reason} is answered {refusal.status}")
        told = f"{refusal!r} {refusal}"
        secret = [*(key.decode() for key in SECRETS), *re.findall("[0-9a-fA-F]{32}", told)]
        promise(not any(item in told for item in secret), "a refusal shows a secret or a digest")
        return str(refusal.reason)
    mac = reference.macs(body, str(verified.timestamp), SECRETS)[verified.secret_index]
    promise(mac in text.lower(), "what is said to have matched is not in the header")
    return "accept"


def seeds() -> list[bytes]:
    """Return the deliveries of the table of attacks, with marks for their MACs."""
    return sorted({_seed(case) for case in load_cases("core") if case.expect["status"] is not None})


def _seed(case: Case) -> bytes:
    lines = "\r\n".join(case.header_lines)
    found = re.search("t=([^,\r\n]*)", lines)
    timestamp = found[1] if found else ""
    keys = [
        secret if isinstance(secret, bytes) else secret.encode(errors="replace")
        for secret in case.secrets
        if secret
    ]
    for mark, mac in zip(("$0", "$1"), reference.macs(case.body, timestamp, keys), strict=False):
        lines = lines.replace(mac, mark).replace(mac.upper(), "$2")
    moment = int(timestamp) if re.fullmatch("[0-9]{1,15}", timestamp) else NOW
    place = min(range(len(SKEWS)), key=lambda place: abs(case.now - moment - SKEWS[place]))
    # The body is as good short: the marks sign whatever is there.
    return b"%d%b\r\n\r\n%b" % (place, lines.encode("latin-1"), case.body[:40])


TARGET = Target(
    name="signature",
    about="any header and body: only SignatureError, and the reference's verdict in every form",
    check=check,
    all_seeds=seeds,
    tokens=[
        *(mark.encode() for mark in MARKS),
        *(b"t=", b"v1=", b",v1=$0", b",t=1700000000", b"v0=", b",", b"=", b" ", b"\t", b"\r\n"),
        *(b"0", b"999999999999999", b"1000000000000000", b"\xb2", b"\0", b"+", b"_", b"\r\n\r\n"),
    ],
    max_bytes=5000,
)
