"""An endpoint as many write it by hand, sound as it is; and the usual mistakes, one at a time."""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Callable
from typing import Any

from karla_receiver.adapters.wsgi import Environ, StartResponse
from tests.signing import SECRET

TOLERANCE = 300


class Refused(Exception):  # noqa: N818 - as it would be called
    """Ends in a 401."""


class Unreadable(Exception):  # noqa: N818
    """Ends in a 400."""


class Endpoint:
    """Sound: strict about the header, verifies the raw bytes, then the time, then parses."""

    def __call__(self, environ: Environ, start_response: StartResponse) -> list[bytes]:
        status = self.status_of(environ)
        start_response(f"{status} .", [("Content-Type", "text/plain")])
        return [b"."]

    def status_of(self, environ: Environ) -> int:
        if environ["REQUEST_METHOD"] != "POST":
            return 405
        length = int(environ["CONTENT_LENGTH"])
        if length > self.max_bytes():
            return 413
        body = environ["wsgi.input"].read(length)
        try:
            self.receive(body, environ.get("HTTP_KARLA_SIGNATURE", ""))
        except Refused:
            return 401
        except Unreadable:
            return 400
        return 200

    def max_bytes(self) -> int:
        return 1_048_576

    def receive(self, body: bytes, header: str) -> None:
        timestamp, signature = self.parts_of(header)
        self.check_signature(body, timestamp, signature)
        self.check_time(timestamp)
        self.event_of(body)

    def parts_of(self, header: str) -> tuple[str, str]:
        if len(header) > 4096:  # before a million pieces are made of it
            raise Refused
        pieces = [piece.strip(" ").partition("=") for piece in header.split(",")]
        timestamps = [value for key, _, value in pieces if key == "t"]
        signatures = [value for key, _, value in pieces if key == "v1"]
        if len(timestamps) != 1 or len(signatures) != 1 or len(pieces) != 2:
            raise Refused
        if not (timestamps[0].isascii() and timestamps[0].isdigit() and len(timestamps[0]) == 10):
            raise Refused
        return timestamps[0], signatures[0]

    def secrets(self) -> list[str]:
        return [SECRET]

    def check_signature(self, body: bytes, timestamp: str, signature: str) -> None:
        message = timestamp.encode() + b"." + self.signed(body)
        for secret in self.secrets():
            expected = hmac.new(secret.encode(), message, "sha256").hexdigest()
            if self.is_equal(expected, signature):
                return
        raise Refused

    def signed(self, body: bytes) -> bytes:
        return body

    def is_equal(self, expected: str, signature: str) -> bool:
        return hmac.compare_digest(expected.encode(), signature.encode())

    def check_time(self, timestamp: str) -> None:
        if abs(time.time() - int(timestamp)) > TOLERANCE:
            raise Refused

    def event_of(self, body: bytes) -> Any:
        from karla_receiver import PayloadError, parse_event

        try:
            return parse_event(body)
        except PayloadError:
            raise Unreadable from None


class ComparesWithEquals(Endpoint):
    def is_equal(self, expected: str, signature: str) -> bool:
        return expected == signature


class ComparesText(Endpoint):
    """compare_digest takes text only if it is ASCII."""

    def is_equal(self, expected: str, signature: str) -> bool:
        return hmac.compare_digest(expected, signature)


class ComparesAPart(Endpoint):
    def is_equal(self, expected: str, signature: str) -> bool:
        return hmac.compare_digest(expected[: len(signature)].encode(), signature.encode())


class ParsesFirst(Endpoint):
    def receive(self, body: bytes, header: str) -> None:
        self.event_of(body)
        super().receive(body, header)


class IgnoresTheTime(Endpoint):
    def check_time(self, timestamp: str) -> None:
        pass


class TrustsTheFuture(Endpoint):
    def check_time(self, timestamp: str) -> None:
        if time.time() - int(timestamp) > TOLERANCE:
            raise Refused


class AnswersErrorsWithSuccess(Endpoint):
    def status_of(self, environ: Environ) -> int:
        super().status_of(environ)
        return 200


class AcknowledgesTheUnreadable(Endpoint):
    def event_of(self, body: bytes) -> Any:
        try:
            return super().event_of(body)
        except Unreadable:
            return None


class AnswersFailuresWithSuccess(Endpoint):
    """Sound, but for what its author did not think of: here, JSON too deep for the parser."""

    def status_of(self, environ: Environ) -> int:
        try:
            return super().status_of(environ)
        except Exception:  # noqa: BLE001 - that is the mistake
            return 200

    def event_of(self, body: bytes) -> Any:
        try:
            event = json.loads(body)
        except ValueError:
            raise Unreadable from None
        return event


class AcceptsAnEmptySecret(Endpoint):
    """As made of `os.environ.get("OLD_SECRET", "")`."""

    def secrets(self) -> list[str]:
        return [SECRET, ""]


class VerifiesOnlyIfSigned(Endpoint):
    def receive(self, body: bytes, header: str) -> None:
        if header:
            super().receive(body, header)
        else:
            self.event_of(body)


class TakesTheFirstTime(Endpoint):
    """And signs with it, whatever else the header says."""

    def parts_of(self, header: str) -> tuple[str, str]:
        found: dict[str, str] = {}
        for piece in header.split(","):
            key, _, value = piece.strip(" ").partition("=")
            found.setdefault(key, value)
        return self.found_in(found)

    def found_in(self, found: dict[str, str]) -> tuple[str, str]:
        if not ("t" in found and "v1" in found):
            raise Refused
        if not (found["t"].isascii() and found["t"].isdigit() and len(found["t"]) == 10):
            raise Refused
        return found["t"], found["v1"]


class TakesTheLastTime(TakesTheFirstTime):
    def parts_of(self, header: str) -> tuple[str, str]:
        if len(header) > 4096:  # before a million pieces are made of it
            raise Refused
        pieces = [piece.strip(" ").partition("=") for piece in header.split(",")]
        return self.found_in({key: value for key, _, value in pieces})


class ParsesTheTimeLoosely(Endpoint):
    def parts_of(self, header: str) -> tuple[str, str]:
        if len(header) > 4096:  # before a million pieces are made of it
            raise Refused
        pieces = [piece.strip(" ").partition("=") for piece in header.split(",")]
        found = {key: value for key, _, value in pieces}
        if len(found) != len(pieces) or not ("t" in found and "v1" in found):
            raise Refused
        return found["t"], found["v1"]

    def check_signature(self, body: bytes, timestamp: str, signature: str) -> None:
        try:
            int(timestamp)
            timestamp.encode("ascii")
        except ValueError:
            raise Refused from None
        super().check_signature(body, timestamp, signature)


class TrustsTheHeader(ParsesTheTimeLoosely):
    """Fails, instead of refusing, when the header is not what it expects."""

    def parts_of(self, header: str) -> tuple[str, str]:
        found = dict(piece.split("=") for piece in header.split(","))
        return found["t"], found["v1"]


class DecodesTheBody(Endpoint):
    def signed(self, body: bytes) -> bytes:
        return body.decode().encode()


class Reserialises(Endpoint):
    """Verifies the JSON as it would write it: right only while Karla writes it alike."""

    def signed(self, body: bytes) -> bytes:
        try:
            return json.dumps(json.loads(body), separators=(",", ":"), ensure_ascii=False).encode()
        except ValueError:
            return body


class ReserialisesWithSpaces(Endpoint):
    def signed(self, body: bytes) -> bytes:
        try:
            return json.dumps(json.loads(body)).encode()
        except ValueError:
            return body


class StripsTheBody(Endpoint):
    def signed(self, body: bytes) -> bytes:
        return body.strip()


class TakesAnySize(Endpoint):
    def max_bytes(self) -> int:
        return 1 << 40


class SignsTheBodyAlone(Endpoint):
    """The time is not under the signature: an old delivery can be dated anew."""

    def check_signature(self, body: bytes, timestamp: str, signature: str) -> None:
        plain = hmac.new(SECRET.encode(), body, "sha256").hexdigest()
        if self.is_equal(plain, signature):
            return
        super().check_signature(body, timestamp, signature)


class ForgetsTheMethod(Endpoint):
    def status_of(self, environ: Environ) -> int:
        return super().status_of({**environ, "REQUEST_METHOD": "POST"})


class ShowsTheSignature(Endpoint):
    """As a debug page does."""

    def __call__(self, environ: Environ, start_response: StartResponse) -> list[bytes]:
        self.shown = b"."
        super().__call__(environ, start_response)
        return [self.shown]

    def is_equal(self, expected: str, signature: str) -> bool:
        self.shown = f"expected {expected}".encode()
        return super().is_equal(expected, signature)


# Each mistake, and what the report must say: ids of findings, and the mistake in words.
FAULTS: dict[Callable[..., Any], list[str]] = {
    ComparesWithEquals: ["COMPARE", "compares signatures with =="],
    ComparesText: ["HTTP-034", "raised TypeError", "fails on what is not ASCII in the header"],
    ComparesAPart: ["HMAC-008", "HMAC-009", "accepts a part of a signature"],
    ParsesFirst: ["BODY-020", "BODY-036", "BODY-037", "reads the body before it has verified it"],
    IgnoresTheTime: ["TIME-013", "TIME-014", "does not check the timestamp"],
    TrustsTheFuture: ["TIME-013", "TIME-019", "accepts timestamps from the future"],
    AnswersErrorsWithSuccess: ["HEAD-002", "HMAC-017", "JSON-001", "accepts anything"],
    AnswersFailuresWithSuccess: ["JSON-080", "acknowledges what it cannot read"],
    AcknowledgesTheUnreadable: ["BODY-001", "JSON-001", "acknowledges what it cannot read"],
    AcceptsAnEmptySecret: ["HMAC-068", "accepts what is signed with an empty secret"],
    VerifiesOnlyIfSigned: ["HEAD-002", "accepts what is not signed"],
    TakesTheFirstTime: ["HEAD-027", "HEAD-028", "takes one of two timestamps"],
    TakesTheLastTime: ["HEAD-027", "HEAD-029", "takes one of two timestamps"],
    ParsesTheTimeLoosely: ["TIME-025", "TIME-026", "TIME-027", "int() or float()"],
    TrustsTheHeader: ["HEAD-002", "HEAD-006", "raised ValueError", "not as expected"],
    DecodesTheBody: ["BODY-020", "raised UnicodeDecodeError", "a body that is not UTF-8"],
    Reserialises: ["BODY-005", "BODY-008", "verifies another body than the one received"],
    ReserialisesWithSpaces: ["GENUINE", "verifies another body than the one received"],
    StripsTheBody: ["BODY-004", "BODY-005", "verifies another body than the one received"],
    TakesAnySize: ["BODY-033", "takes bodies of any size"],
    SignsTheBodyAlone: ["HMAC-020", "does not cover the timestamp"],
    ForgetsTheMethod: ["HTTP-005", "takes any method"],
    ShowsTheSignature: ["HMAC-017", "shows the secret or a signature"],
}
