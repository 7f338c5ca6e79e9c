"""The signature: the header's grammar, the MAC over the raw body, and freshness.

Source of the rules: Karla's webhook guide and its own PHP receiver (gokarla-io/shopware); where
that one is lenient about the timestamp's text or ambiguous about repeated keys, this one is not.
"""

from __future__ import annotations

import re
import time
from binascii import unhexlify
from collections.abc import Callable, Sequence
from hmac import compare_digest
from typing import Any, NamedTuple, cast

from karla_receiver.checks import checked_body, checked_clock, is_finite
from karla_receiver.errors import ConfigurationError, Reason, SignatureError, Verified
from karla_receiver.signature.hints import hint_of_secrets
from karla_receiver.signature.keys import make_keys

__all__ = ["HEADER", "SignatureHeader", "Verifier", "parse_header", "sign"]

HEADER = "Karla-Signature"

_MAX_HEADER_BYTES = 4096
_MAX_ELEMENTS = 32
_MAX_SIGNATURES = 16
_MAX_TIMESTAMP = 999_999_999_999_999

# An RFC 9110 token, "=", and visible ASCII: so a blank, control or non-ASCII octet that is left
# inside an element never fits. `int()` is not the judge of the timestamp's text, because it also
# takes signs, underscores, blanks and other scripts' digits.
_match_element = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)=([!-~]*)").fullmatch
_SIGNATURE = re.compile(r"[0-9A-Fa-f]{64}")
_TIMESTAMP = re.compile(r"0|[1-9][0-9]{0,14}")
# The header as Karla writes it, which is nearly every one; any other takes the long way.
_match_usual = re.compile(r"t=(0|[1-9][0-9]{0,14}),v1=([0-9a-f]{64})").fullmatch

_MISMATCH = "no v1 is the MAC of this body under a configured secret"


class SignatureHeader(NamedTuple):
    """What the signature header says, well-formed but not yet proven."""

    timestamp: str
    signatures: tuple[bytes, ...]

    def __repr__(self) -> str:
        return f"<SignatureHeader with {len(self.signatures)} digests>"


def sign(body: bytes, secret: str | bytes, *, timestamp: int | None = None) -> str:
    """Return the value of the Karla-Signature header for body, as Karla would send it.

    body: the raw bytes that will be sent.
    timestamp: unix seconds, 0 to 999999999999999; the present time if left out.
    Raises ConfigurationError for an unusable secret or timestamp, TypeError for a body that is
    not bytes.
    """
    try:
        (key,) = make_keys((secret,))
    finally:
        del secret  # see make_keys
    moment = int(time.time()) if timestamp is None else timestamp
    # Not True, not 1.5: what is signed is the text of the number.
    if type(moment) is not int or not 0 <= moment <= _MAX_TIMESTAMP:
        raise ConfigurationError(
            f"timestamp must be whole unix seconds between 0 and {_MAX_TIMESTAMP}"
        )
    digest = key.digest(_signed_prefix(str(moment)), checked_body(body))
    return f"t={moment},v1={digest.hex()}"


def _signed_prefix(timestamp: str) -> bytes:
    # What is signed is this and the body. The header's own text is taken, not the number it
    # stands for: PHP's receiver signs the number, and so accepts "1700000000abc".
    return f"{timestamp}.".encode()


def parse_header(header: str | bytes | Sequence[str | bytes] | None) -> SignatureHeader:
    """Read a signature header: one value, or the values of several header lines.

    Raises SignatureError with missing_signature, malformed_header or no_v1.
    """
    if type(header) is str:
        text = header
    else:
        text = header.decode("latin-1") if type(header) is bytes else _joined(header)
    usual = _match_usual(text)
    if usual is not None:
        return _new_header(SignatureHeader, (usual[1], (unhexlify(usual[2]),)))
    # However else it may be written: the rules in full.
    if len(text) > _MAX_HEADER_BYTES:
        raise _malformed(f"longer than {_MAX_HEADER_BYTES} bytes")
    elements: list[tuple[str, str]] = []
    for piece in text.split(","):
        # Proxies that join header lines leave blanks and empty elements (RFC 9110, 5.6.1).
        element = piece.strip(" \t")
        if element:
            match = _match_element(element)
            if match is None:
                # Raised here: each function that a refusal leaves costs a twentieth of a hash.
                raise SignatureError(Reason.MALFORMED_HEADER, "an element that is not key=value")
            elements.append((match[1], match[2]))
    if not elements and not text.strip(" \t"):
        raise SignatureError(Reason.MISSING_SIGNATURE, f"the {HEADER} header is absent or empty")
    return _header_of(elements)


def _joined(lines: str | bytes | Sequence[str | bytes] | None) -> str:
    if isinstance(lines, str | bytes):  # of a class of its own
        return _text(lines)
    # WSGI servers join the lines of a header with a comma; so do we, and all servers agree.
    return ",".join(map(_text, lines or ()))


def _text(line: str | bytes) -> str:
    if isinstance(line, str):
        return line
    if isinstance(line, bytes):
        return line.decode("latin-1")  # never fails; what is not ASCII is refused afterwards
    raise TypeError(f"a signature header is str or bytes, not {type(line).__name__}")


def _header_of(elements: list[tuple[str, str]]) -> SignatureHeader:
    if len(elements) > _MAX_ELEMENTS:
        raise _malformed(f"more than {_MAX_ELEMENTS} elements")
    timestamps = [value for key, value in elements if key == "t"]
    candidates = [value for key, value in elements if key == "v1"]
    if len(timestamps) != 1:
        # Stripe's library takes the first t and PHP the last: an ambiguous header proves nothing.
        raise _malformed(f"{len(timestamps)} elements t, where there must be one")
    if not _TIMESTAMP.fullmatch(timestamps[0]):
        raise _malformed("t is not a plain decimal number of at most 15 digits")
    if not candidates:
        raise SignatureError(Reason.NO_V1, "no element v1 beside t")
    if len(candidates) > _MAX_SIGNATURES:
        raise _malformed(f"more than {_MAX_SIGNATURES} elements v1")
    signatures = tuple(unhexlify(each) for each in candidates if _SIGNATURE.fullmatch(each))
    if not signatures:
        raise _malformed("no v1 has 64 hex digits")
    return SignatureHeader(timestamps[0], signatures)


def _malformed(detail: str) -> SignatureError:
    return SignatureError(Reason.MALFORMED_HEADER, detail)


# Half the cost of calling the class.
_new_verified: Callable[..., Verified] = cast("Any", tuple).__new__
_new_header: Callable[..., SignatureHeader] = cast("Any", tuple).__new__


class Verifier:
    """Proves that a body is genuine (HMAC-SHA256 under a known secret) and fresh.

    secrets: one or more; each is used as given. During a rotation pass the new and the old one.
    tolerance: seconds that the signed timestamp may lie from now, either way and inclusive;
    finite and not negative. 300 is what Karla's own receiver uses; 0 means 0.
    clock: returns unix seconds; called once at once, to see that it does. None: `time.time`, which
    is looked up each time, so that a test may replace it.
    Raises ConfigurationError for an unusable secret or option.

    A verifier may be shared by threads and event loops, and be forked.
    """

    __slots__ = ("_clock", "_hint", "_keys", "_tolerance")

    def __init__(
        self,
        *secrets: str | bytes,
        tolerance: float = 300,
        clock: Callable[[], float] | None = None,
    ) -> None:
        try:
            self._keys = make_keys(secrets)
            self._hint = hint_of_secrets(secrets)
        finally:
            del secrets  # see make_keys
        self._tolerance = _checked_tolerance(tolerance)
        self._clock = None if clock is None else checked_clock(clock)

    def replace_secrets(self, *secrets: str | bytes) -> None:
        """Use these secrets from now on, instead of the present ones.

        At once and as a whole: a verification under way sees either all of the old secrets or
        all of the new ones. Raises ConfigurationError for an unusable secret, and changes nothing.
        """
        try:
            self._keys = make_keys(secrets)
            self._hint = hint_of_secrets(secrets)
        finally:
            del secrets  # see make_keys

    def verify(self, body: bytes, header: str | bytes | Sequence[str | bytes] | None) -> Verified:
        """Verify the raw body against the value (or values) of the Karla-Signature header.

        header: the value; a list if the header came in several lines; None if it did not come.
        Raises SignatureError, whose reason says what was not proven, for any header and body;
        TypeError if the body is not bytes.
        """
        raw = body if type(body) is bytes else checked_body(body)
        return self.verify_parsed(raw, parse_header(header))

    def verify_parsed(
        self, body: bytes, header: SignatureHeader, *, now: float | None = None
    ) -> Verified:
        """Same as `verify`, for a header that `parse_header` has read.

        now: unix seconds to compare the timestamp with, for what was received and kept earlier;
        the clock's if left out.
        """
        timestamp = int(header.timestamp)
        prefix = _signed_prefix(header.timestamp)
        expected = b""
        try:
            for secret_index, key in enumerate(self._keys):
                expected = key.digest(prefix, body)
                for signature in header.signatures:
                    if compare_digest(signature, expected):
                        # After the MAC: so too old or in the future always means genuine.
                        skew = (self._now() if now is None else now) - timestamp
                        if abs(skew) <= self._tolerance:  # which no clock that shows NaN meets
                            return _new_verified(Verified, (timestamp, secret_index))
                        raise self._stale(skew, Verified(timestamp, secret_index))
            raise self._mismatch(timestamp)
        finally:
            del expected  # an error report with local variables must not show the right one

    def _mismatch(self, timestamp: int) -> SignatureError:
        hint = self._hint
        return SignatureError(
            Reason.SIGNATURE_MISMATCH,
            f"{_MISMATCH}; {hint}" if hint else _MISMATCH,
            self._now() - timestamp,
        )

    def _now(self) -> float:
        return time.time() if self._clock is None else self._clock()

    def _stale(self, skew: float, verified: Verified) -> SignatureError:
        error = SignatureError(
            Reason.TIMESTAMP_IN_FUTURE if skew < 0 else Reason.TIMESTAMP_TOO_OLD,
            f"signed {skew:+.1f} s from our clock, {self._tolerance:g} allowed",
            skew,
        )
        error.verified = verified
        return error


def _checked_tolerance(tolerance: float) -> float:
    if not is_finite(tolerance) or tolerance < 0:
        raise ConfigurationError("tolerance must be a number of seconds, finite, not negative")
    return float(tolerance)  # comparing floats with a float is cheapest
