from __future__ import annotations

import base64
import gzip
import json
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from karla_receiver import ConfigurationError, Reason, SignatureError, Verifier, samples, sign
from karla_receiver.explain import Code, Explanation, explain
from karla_receiver.explain.advice import cause
from karla_receiver.explain.causes import Change
from karla_receiver.explain.search import _MAX_HASHES  # pyright: ignore[reportPrivateUsage]
from tests.attack_table import Case, load_cases
from tests.signing import NOW

# Mixed case, base64 and hex by its alphabet, so that every form of it is another.
SECRET = "5f0c9f1f6a10AbCd5f0c9f1f6a10AbCd"
COMPACT = samples.read("shipment_unicode_names")
ESCAPED = samples.read("shipment_unicode_names_escaped")
INDENTED = samples.read("shipment_delivery_attempted")  # ends with a newline
MISMATCH = Reason.SIGNATURE_MISMATCH


@dataclass(frozen=True, kw_only=True)
class Received:
    """What a receiver has in its hands."""

    body: bytes = COMPACT
    header: Any
    secret: str | bytes = SECRET
    now: float = NOW
    others: dict[str, str | bytes] | None = None
    headers: Any = ()

    def explained(self) -> Explanation:
        return explain(
            self.body,
            self.header,
            self.secret,
            now=self.now,
            others=self.others,
            headers=self.headers,
        )


def of(body: bytes) -> Received:
    return Received(body=body, header=sign(body, SECRET, timestamp=NOW))


GENUINE = of(COMPACT)
DIGEST = GENUINE.header.partition("v1=")[2]


def with_body(mangle: Callable[[bytes], bytes], body: bytes = COMPACT) -> Received:
    return replace(of(body), body=mangle(body))


def with_header(mangle: Callable[[str], Any]) -> Received:
    return replace(GENUINE, header=mangle(GENUINE.header))


def configured(secret: str | bytes, right: str | bytes = SECRET) -> Received:
    header = f"t={NOW},v1=" + mac(f"{NOW}.".encode() + COMPACT, right)
    return Received(header=header, secret=secret)


def mac(message: bytes, secret: str | bytes = SECRET) -> str:
    import hmac

    key = secret.encode() if isinstance(secret, str) else secret
    return hmac.digest(key, message, "sha256").hex()


def redumped(**options: Any) -> Callable[[bytes], bytes]:
    return lambda body: json.dumps(json.loads(body), **options).encode()


def compact(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def as_php(body: bytes) -> bytes:
    return json.dumps(json.loads(body), separators=(",", ":")).replace("/", "\\/").encode()


def as_javascript(body: bytes) -> bytes:
    """Parse and dump as JSON.stringify(JSON.parse(...)) does: 20.0 becomes 20."""
    return compact(
        json.loads(
            body, parse_float=lambda text: int(float(text)) if text.endswith(".0") else float(text)
        )
    )


def in_gzip(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)


def signed_as(body: bytes) -> Received:
    """Sign body, and receive the compact sample."""
    return replace(of(body), body=COMPACT)


def wrapped(body: bytes, *, in_base64: bool) -> bytes:
    text = base64.b64encode(body).decode() if in_base64 else body.decode()
    return json.dumps({"body": text, "isBase64Encoded": in_base64, "headers": {}}).encode()


TWO_LINES = f"t={NOW},v1={DIGEST[:40]}", DIGEST[40:]
OTHER_HEADER = sign(b"{}", "another", timestamp=NOW - 1)

# What happened, what is in the receiver's hands, and the causes that must be found, in order.
CAUSES: dict[str, tuple[Received, list[Code]]] = {
    "json.dumps defaults": (with_body(redumped()), [Code.JSON_RESERIALISED]),
    "json.dumps, indent 2": (with_body(redumped(indent=2)), [Code.JSON_RESERIALISED]),
    "json.dumps, indent 4": (
        with_body(redumped(indent=4, ensure_ascii=False)),
        [Code.JSON_RESERIALISED],
    ),
    "json.dumps, tabs": (with_body(redumped(indent="\t")), [Code.JSON_RESERIALISED]),
    "json.dumps, compact, of the spaced": (
        with_body(redumped(separators=(",", ":")), ESCAPED),
        [Code.JSON_RESERIALISED],
    ),
    "json.dumps of the indented": (with_body(redumped(), INDENTED), [Code.JSON_RESERIALISED]),
    "PHP json_encode": (with_body(as_php), [Code.JSON_RESERIALISED]),
    "signed by PHP, JSON.stringify": (signed_as(as_php(COMPACT)), [Code.JSON_RESERIALISED]),
    "JSON.stringify": (with_body(as_javascript), [Code.JSON_RESERIALISED]),
    "floats for integers": (
        with_body(
            lambda body: body.replace(b'"quantity":2', b'"quantity":2.0').replace(
                b'"quantity":1', b'"quantity":1.0'
            )
        ),
        [Code.JSON_RESERIALISED],
    ),
    "Go": (
        signed_as(COMPACT.replace(b"&", b"\\u0026")),
        [Code.JSON_RESERIALISED],
    ),
    ".NET": (
        with_body(
            lambda body: (
                body.replace(b"\\u00f6", b"\\u00F6")
                .replace(b"\\u00df", b"\\u00DF")
                .replace(b"\\u201e", b"\\u201E")
                .replace(b"\\u00e4", b"\\u00E4")
                .replace(b"\\u00fc", b"\\u00FC")
                .replace(b"\\u00d6", b"\\u00D6")
                .replace(b"\\u017d", b"\\u017D")
                .replace(b"\\ud83c\\udf75", b"\\uD83C\\uDF75")
                .replace(b"\\u00e1", b"\\u00E1")
                .replace(b"\\u201c", b"\\u201C")
            ),
            ESCAPED,
        ),
        [Code.JSON_RESERIALISED],
    ),
    "a style that is not usual": (
        with_body(lambda body: body.replace(b'","', b'" , "')),
        [Code.JSON_RESERIALISED],
    ),
    "unicode escaped": (
        with_body(redumped(separators=(",", ":"))),
        [Code.UNICODE_ESCAPED],
    ),
    "unicode unescaped": (
        with_body(redumped(ensure_ascii=False), ESCAPED),
        [Code.UNICODE_UNESCAPED],
    ),
    "signed with sorted keys": (
        signed_as(compact(dict(sorted(json.loads(COMPACT).items())))),
        [],
    ),
    "signed with all keys sorted": (
        signed_as(
            json.dumps(
                json.loads(COMPACT), sort_keys=True, separators=(",", ":"), ensure_ascii=False
            ).encode()
        ),
        [Code.KEYS_REORDERED],
    ),
    "newline added": (with_body(lambda body: body + b"\n"), [Code.NEWLINE_ADDED]),
    "CR LF added": (with_body(lambda body: body + b"\r\n"), [Code.NEWLINE_ADDED]),
    "newlines added": (with_body(lambda body: body + b"\n\n\n"), [Code.NEWLINE_ADDED]),
    "blanks added": (with_body(lambda body: b" " + body + b" \n"), [Code.NEWLINE_ADDED]),
    "newline lost": (with_body(lambda body: body[:-1], INDENTED), [Code.NEWLINE_LOST]),
    "CR LF lost": (signed_as(COMPACT + b"\r\n"), [Code.NEWLINE_LOST]),
    "LF became CR LF": (
        with_body(lambda body: body.replace(b"\n", b"\r\n"), INDENTED),
        [Code.LF_BECAME_CRLF],
    ),
    "CR LF became LF": (
        with_body(lambda body: body.replace(b"\r\n", b"\n"), INDENTED.replace(b"\n", b"\r\n")),
        [Code.CRLF_BECAME_LF],
    ),
    "CR LF became LF, and the last was lost": (
        with_body(
            lambda body: body.replace(b"\r\n", b"\n").rstrip(), INDENTED.replace(b"\n", b"\r\n")
        ),
        [Code.NEWLINE_LOST, Code.CRLF_BECAME_LF],
    ),
    "BOM added": (with_body(lambda body: b"\xef\xbb\xbf" + body), [Code.BOM_ADDED]),
    "BOM lost": (signed_as(b"\xef\xbb\xbf" + COMPACT), [Code.BOM_LOST]),
    "BOM and newline added": (
        with_body(lambda body: b"\xef\xbb\xbf" + body + b"\n"),
        [Code.NEWLINE_ADDED, Code.BOM_ADDED],
    ),
    "still in gzip": (with_body(in_gzip), [Code.NOT_DECOMPRESSED]),
    "still in deflate": (with_body(zlib.compress), [Code.NOT_DECOMPRESSED]),
    "gzip was undone": (signed_as(in_gzip(COMPACT)), [Code.DECOMPRESSED]),
    "gzip -1 was undone": (
        signed_as(gzip.compress(COMPACT, compresslevel=1, mtime=0)),
        [Code.DECOMPRESSED],
    ),
    "still in base64": (with_body(base64.b64encode), [Code.BASE64_BODY]),
    "still in base64 for URLs": (
        with_body(lambda body: base64.urlsafe_b64encode(body).rstrip(b"=") + b"\n"),
        [Code.BASE64_BODY],
    ),
    "base64 of reserialised JSON": (
        with_body(lambda body: base64.b64encode(redumped()(body))),
        [Code.BASE64_BODY, Code.JSON_RESERIALISED],
    ),
    "in a JSON string": (
        with_body(lambda body: json.dumps(body.decode()).encode()),
        [Code.JSON_IN_STRING],
    ),
    "a Lambda event": (with_body(lambda body: wrapped(body, in_base64=False)), [Code.WRAPPED_BODY]),
    "a Lambda event in base64": (
        with_body(lambda body: wrapped(body, in_base64=True)),
        [Code.WRAPPED_BODY],
    ),
    "repr of bytes": (with_body(lambda body: repr(body).encode()), [Code.PYTHON_REPR]),
    "repr of a dict": (
        with_body(lambda body: repr(json.loads(body)).encode()),
        [Code.PYTHON_REPR, Code.JSON_RESERIALISED],
    ),
    "a form field": (
        with_body(lambda body: urlencode({"payload": body.decode()}).encode()),
        [Code.FORM_BODY],
    ),
    "a form field's name": (
        with_body(lambda body: (quote_plus(body.decode()) + "=").encode()),
        [Code.FORM_BODY],
    ),
    "percent-encoded": (with_body(lambda body: quote(body.decode()).encode()), [Code.FORM_BODY]),
    "read as latin-1": (
        with_body(lambda body: body.decode("latin-1").encode()),
        [Code.CHARSET_CHANGED],
    ),
    "sent as cp1252": (
        with_body(
            lambda body: body.decode().encode("cp1252"), compact({"event_group": "\u201e\u00f6"})
        ),
        [Code.CHARSET_CHANGED],
    ),
    "sent as UTF-16": (
        with_body(lambda body: body.decode().encode("utf-16-le")),
        [Code.CHARSET_CHANGED],
    ),
    "signed without t": (
        replace(GENUINE, header=f"t={NOW},v1={mac(COMPACT)}"),
        [Code.OTHER_MESSAGE],
    ),
    "signed with a colon": (
        replace(GENUINE, header=f"t={NOW},v1={mac(f'{NOW}:'.encode() + COMPACT)}"),
        [Code.OTHER_MESSAGE],
    ),
    "signed over the repr of bytes": (
        replace(GENUINE, header=f"t={NOW},v1={mac(f'{NOW}.{COMPACT!r}'.encode())}"),
        [Code.OTHER_MESSAGE],
    ),
    "secret with a newline": (configured(SECRET + "\n"), [Code.SECRET_BLANKS]),
    "secret with a byte order mark": (configured("\ufeff" + SECRET), [Code.SECRET_BLANKS]),
    "bytes with a byte order mark": (
        configured(b"\xef\xbb\xbf" + SECRET.encode() + b"\r\n"),
        [Code.SECRET_BLANKS],
    ),
    "secret with a no-break space": (configured(SECRET + "\xa0"), [Code.SECRET_BLANKS]),
    "secret with the letters \\n": (configured(SECRET + "\\n"), [Code.SECRET_BLANKS]),
    "secret in quotes": (configured(f'"{SECRET}"'), [Code.SECRET_QUOTED]),
    "secret in quotes and blanks": (configured(f" '{SECRET} '\n"), [Code.SECRET_QUOTED]),
    "secret as a line": (
        configured(f"export KARLA_WEBHOOK_SECRET='{SECRET}'\n"),
        [Code.SECRET_LINE],
    ),
    "secret in base64": (
        configured(base64.b64encode(SECRET.encode()).decode()),
        [Code.SECRET_BASE64],
    ),
    "secret in base64 with a newline": (
        configured(base64.b64encode(SECRET.encode() + b"\n").decode()),
        [Code.SECRET_BASE64],
    ),
    "secret in hex": (configured(SECRET.encode().hex()), [Code.SECRET_HEX]),
    "secret decoded from base64": (configured(base64.b64decode(SECRET)), [Code.SECRET_DECODED]),
    "secret decoded from hex": (
        configured(bytes.fromhex(SECRET), SECRET.lower()),
        [Code.SECRET_DECODED],
    ),
    "secret URL-encoded": (
        configured("a%2Bb%2Fc%3D-secret", "a+b/c=-secret"),
        [Code.SECRET_URL_ENCODED],
    ),
    "secret in lower case": (configured(SECRET.lower(), SECRET.upper()), [Code.SECRET_CASE]),
    "secret in upper case": (configured(SECRET.upper(), SECRET.lower()), [Code.SECRET_CASE]),
    "secret registered with a newline": (
        configured(SECRET, SECRET + "\n"),
        [Code.SECRET_REGISTERED_WITH_BLANKS],
    ),
    "secret registered in quotes": (
        configured(SECRET, f'"{SECRET}"'),
        [Code.SECRET_REGISTERED_WITH_BLANKS],
    ),
    "secret of another environment": (
        replace(configured("of-production"), others={"staging": SECRET}),
        [Code.SECRET_OF_ANOTHER_ENVIRONMENT],
    ),
    "secret of another environment, with a newline": (
        replace(configured("of-production"), others={"staging": SECRET + "\n"}),
        [Code.SECRET_OF_ANOTHER_ENVIRONMENT],
    ),
    "header truncated": (with_header(lambda text: text[:-10]), [Code.HEADER_TRUNCATED]),
    "header folded": (
        with_header(lambda text: text.replace(",", ",\r\n ")),
        [Code.HEADER_SPLIT],
    ),
    "header broken within v1": (
        with_header(lambda text: text[:50] + "\n" + text[50:]),
        [Code.HEADER_SPLIT],
    ),
    "header in two lines": (with_header(lambda text: [text[:50], text[50:]]), [Code.HEADER_SPLIT]),
    "header as bytes in two lines": (
        with_header(lambda text: [text[:50].encode(), b" " + text[50:].encode()]),
        [Code.HEADER_SPLIT],
    ),
    "headers joined": (
        with_header(lambda text: f"{OTHER_HEADER},{text}"),
        [Code.HEADER_JOINED],
    ),
    "headers joined with a semicolon": (
        with_header(lambda text: f"{text}; {OTHER_HEADER}"),
        [Code.HEADER_JOINED],
    ),
    "header quoted": (with_header(lambda text: f'"{text}"'), [Code.HEADER_QUOTED]),
    "header as repr of bytes": (
        with_header(lambda text: repr(text.encode())),
        [Code.HEADER_QUOTED],
    ),
    "header with quoted values": (
        with_header(lambda text: f't="{NOW}",v1="{DIGEST}"'),
        [Code.HEADER_QUOTED],
    ),
    "header URL-encoded": (with_header(quote), [Code.HEADER_URL_ENCODED]),
    "header quoted and URL-encoded": (
        with_header(lambda text: quote(f'"{text}"')),
        [Code.HEADER_URL_ENCODED, Code.HEADER_QUOTED],
    ),
    "header with a semicolon": (
        with_header(lambda text: text.replace(",", "; ")),
        [Code.HEADER_RESPELLED],
    ),
    "header with colons and capitals": (
        with_header(lambda text: f"T: {NOW}, V1: {DIGEST}"),
        [Code.HEADER_RESPELLED],
    ),
    "header with its name": (
        with_header(lambda text: f"Karla-Signature: {text}"),
        [Code.HEADER_NAME_IN_VALUE],
    ),
    "header under another name": (
        replace(
            GENUINE, header=None, headers={"X-Karla-Signature": GENUINE.header, "Accept": "*/*"}
        ),
        [Code.HEADER_RENAMED],
    ),
    "header under another name, as pairs of bytes": (
        replace(GENUINE, header=[], headers=[(b"karla_signature", GENUINE.header.encode())]),
        [Code.HEADER_RENAMED],
    ),
    "v1 in base64": (
        replace(GENUINE, header=f"t={NOW},v1={base64.b64encode(bytes.fromhex(DIGEST)).decode()}"),
        [Code.SIGNATURE_IN_BASE64],
    ),
    "t in milliseconds": (
        replace(GENUINE, header=sign(COMPACT, SECRET, timestamp=NOW * 1000)),
        [Code.TIMESTAMP_UNIT],
    ),
    "t in milliseconds, signed in seconds": (
        replace(GENUINE, header=f"t={NOW}123,v1={DIGEST}"),
        [Code.TIMESTAMP_UNIT],
    ),
    "t in nanoseconds": (
        replace(GENUINE, header=f"t={NOW}000000000,v1={DIGEST}"),
        [Code.TIMESTAMP_UNIT],
    ),
    "t with a fraction": (
        replace(GENUINE, header=f"t={NOW}.25,v1={mac(f'{NOW}.25.'.encode() + COMPACT)}"),
        [Code.TIMESTAMP_RESPELLED],
    ),
    "t with a fraction, signed without": (
        replace(GENUINE, header=f"t={NOW}.25,v1={DIGEST}"),
        [Code.TIMESTAMP_RESPELLED],
    ),
    "a clock an hour off": (replace(GENUINE, now=NOW - 3600 + 2), [Code.TIME_ZONE]),
    "two hours late to the second": (replace(GENUINE, now=NOW + 7200), [Code.TIME_ZONE]),
    "late": (replace(GENUINE, now=NOW + 1000), [Code.TOO_LATE]),
    "very late": (replace(GENUINE, now=NOW + 90 * 86_400), [Code.TOO_LATE]),
    "a clock that is behind": (replace(GENUINE, now=NOW - 1000.5), [Code.CLOCK_BEHIND]),
    "late and reserialised": (
        replace(with_body(redumped()), now=NOW + 1000),
        [Code.JSON_RESERIALISED, Code.TOO_LATE],
    ),
    "reserialised, and a newline in the secret": (
        replace(with_body(redumped()), secret=SECRET + "\n"),
        [Code.JSON_RESERIALISED, Code.SECRET_BLANKS],
    ),
    "newline added, and the secret of another environment": (
        replace(with_body(lambda body: body + b"\n"), secret="x" * 16, others={"old": SECRET}),
        [Code.NEWLINE_ADDED, Code.SECRET_OF_ANOTHER_ENVIRONMENT],
    ),
    "header cut, reserialised, secret in quotes": (
        replace(
            with_body(redumped()),
            header=GENUINE.header[:60],
            secret=f'"{SECRET}"',
        ),
        [Code.HEADER_TRUNCATED, Code.JSON_RESERIALISED, Code.SECRET_QUOTED],
    ),
}


@cache
def explained(row: str) -> Explanation:
    """Explain a row once for all the tests that look at it."""
    return CAUSES[row][0].explained()


every_row = pytest.mark.parametrize("row", CAUSES)


@every_row
def test_a_known_cause_is_found_and_proven(row: str) -> None:
    assert [each.code for each in explained(row).causes] == CAUSES[row][1]


def test_every_cause_that_can_be_proven_has_a_row() -> None:
    proven = set(Code) - set(HINTS_ALONE)
    assert {code for _, codes in CAUSES.values() for code in codes} == proven


@every_row
def test_an_explanation_shows_neither_secret_nor_digest_nor_body(row: str) -> None:
    explanation, received = explained(row), CAUSES[row][0]
    shown = repr(explanation) + str(explanation) + msgspec.json.encode(explanation).decode()
    secrets = [received.secret, *(received.others or {}).values(), SECRET]
    for secret in secrets:
        text = secret if isinstance(secret, str) else secret.decode("latin-1")
        assert text not in shown
        assert text.strip() not in shown
    for private in (DIGEST, DIGEST[:16], "Jörg", "Gr\\u00f6", "NT-20417"):
        assert private not in shown


@every_row
def test_the_reason_is_the_verifiers(row: str) -> None:
    received = CAUSES[row][0]
    try:
        verifier = Verifier(received.secret, clock=lambda: received.now)
    except ConfigurationError:
        verifier = Verifier("a secret that nobody knows", clock=lambda: received.now)
    with pytest.raises(SignatureError) as refusal:
        verifier.verify(received.body, received.header)
    assert explained(row).reason is refusal.value.reason


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


# Facts about what came, where nothing can be proven.
HINTS: dict[str, tuple[Received, list[Code]]] = {
    "no header": (replace(GENUINE, header=None), [Code.NO_HEADER]),
    "an empty header": (replace(GENUINE, header=""), [Code.NO_HEADER]),
    "a blank header": (replace(GENUINE, header="  "), [Code.NO_HEADER]),
    "a header that is beyond repair": (replace(GENUINE, header="Bearer abc"), []),
    "a damaged header of a forgery": (
        with_header(lambda text: f'"{text[:-1]}0"'.replace("00", "01")),
        [Code.HEADER_QUOTED],
    ),
    "a forgery under another name": (
        replace(GENUINE, header=None, headers={"X-Signature": OTHER_HEADER}),
        [Code.HEADER_RENAMED],
    ),
    "an empty body": (replace(GENUINE, body=b""), [Code.EMPTY_BODY]),
    "another length": (
        replace(with_body(lambda body: body[:-9]), headers={"Content-Length": str(len(COMPACT))}),
        [Code.OTHER_LENGTH, Code.NOT_JSON],
    ),
    "a length that is none": (
        replace(with_body(lambda body: body[:-9]), headers={"Content-Length": "many"}),
        [Code.NOT_JSON],
    ),
    "an encoding": (
        replace(with_body(lambda body: body[:-9]), headers=[("content-encoding", "br")]),
        [Code.ENCODING_DECLARED, Code.NOT_JSON],
    ),
    "sorted keys": (with_body(redumped(sort_keys=True)), [Code.SORTED_KEYS]),
    "deeper than is read": (
        replace(GENUINE, body=b"[" * 100_000 + b"]" * 100_000),
        [Code.NOT_JSON],
    ),
    "deeper than is written": (replace(GENUINE, body=b"[" * 600 + b"]" * 600), []),
    "base64 that is none": (replace(GENUINE, body=b"A" * 17), [Code.NOT_JSON]),
    "a repr that is none": (replace(GENUINE, body=b"b'\\xzz'"), [Code.NOT_JSON]),
    "a list without keys": (replace(GENUINE, body=b"[1, 2.50, true, null, []]"), []),
    "no text": (replace(GENUINE, body=b"\xff\xfe\xfd"), [Code.NOT_JSON]),
    "a number": (replace(GENUINE, body=b"NaN"), []),
}
HINTS_ALONE = (
    Code.NO_HEADER,
    Code.EMPTY_BODY,
    Code.OTHER_LENGTH,
    Code.ENCODING_DECLARED,
    Code.SORTED_KEYS,
    Code.NOT_JSON,
)


@pytest.mark.parametrize(("received", "codes"), HINTS.values(), ids=HINTS)
def test_what_cannot_be_proven_is_only_hinted_at(received: Received, codes: list[Code]) -> None:
    explanation = received.explained()

    assert explanation.causes == ()
    assert [each.code for each in explanation.hints] == codes


def test_every_hint_has_a_row() -> None:
    assert set(HINTS_ALONE) <= {code for _, codes in HINTS.values() for code in codes}


@pytest.mark.parametrize("code", Code)
def test_every_cause_says_what_happened_what_to_do_and_where_it_happens(code: Code) -> None:
    told = cause(Change(code, "evidence"))

    assert (told.code, told.evidence) == (code, "evidence")
    assert told.sentence.endswith(".")
    assert told.fix.endswith(".")
    assert told.where
    assert all(place and habit for place, habit in told.where.items())


def test_an_explanation_survives_json() -> None:
    explanation = with_body(redumped()).explained()
    assert msgspec.json.decode(msgspec.json.encode(explanation), type=Explanation) == explanation


def test_evidence_names_both_styles_of_json() -> None:
    (told,) = with_body(redumped()).explained().causes
    assert told.evidence == (
        "what was signed has no blanks (JSON.stringify, PHP, orjson), non-ASCII as it is; what came"
        " is written with blanks after , and : (Python's json.dumps), non-ASCII as \\u"
    )


def test_evidence_names_the_secret_by_its_place() -> None:
    explanation = explain(COMPACT, GENUINE.header, "another-secret", f"'{SECRET}'", now=NOW)
    assert [each.evidence for each in explanation.causes] == [
        "secret 2, without the quotes around it"
    ]


def test_evidence_names_the_size_of_a_skew() -> None:
    (told,) = replace(GENUINE, now=NOW - 1000.5).explained().causes
    assert told.evidence == (
        "received 1000.5 s before the time that was signed, where 300 s are allowed"
    )


def test_the_tolerance_is_the_callers() -> None:
    assert explain(COMPACT, GENUINE.header, SECRET, now=NOW + 1000, tolerance=1000).verifies
    refused = explain(COMPACT, GENUINE.header, SECRET, now=NOW + 11, tolerance=10)
    assert refused.reason is Reason.TIMESTAMP_TOO_OLD


def test_now_is_the_present_unless_given() -> None:
    assert explain(COMPACT, sign(COMPACT, SECRET), SECRET).verifies
    assert explain(COMPACT, GENUINE.header, SECRET).reason is Reason.TIMESTAMP_TOO_OLD


WRONG_USE: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "no secret": (lambda: explain(b"", None), ConfigurationError, "no secret given"),
    "an empty secret": (
        lambda: explain(b"", None, "x", " \n"),
        ConfigurationError,
        "secret 2 is empty",
    ),
    "no text": (lambda: explain(b"", None, None), ConfigurationError, "secret 1 is None"),  # type: ignore[arg-type]
    "another without text": (
        lambda: explain(b"", None, "x", others={"old": ""}),
        ConfigurationError,
        "'old' is empty",
    ),
    "a body of text": (lambda: explain("", None, "x"), TypeError, "must be bytes"),  # type: ignore[arg-type]
    "a header of another type": (lambda: explain(b"", [5], "x"), TypeError, "not int"),  # type: ignore[list-item]
    "a bad tolerance": (
        lambda: explain(b"", None, "x", tolerance=-1),
        ConfigurationError,
        "tolerance",
    ),
    "a time that is none": (
        lambda: explain(b"", None, "x", now=float("nan")),
        ConfigurationError,
        "now must be unix seconds",
    ),
    "a time beyond all": (
        lambda: explain(b"", None, "x", now=10**400),
        ConfigurationError,
        "now must be unix seconds",
    ),
    "a time of another type": (
        lambda: explain(b"", None, "x", now="1"),  # type: ignore[arg-type]
        ConfigurationError,
        "now must be unix seconds",
    ),
}


@pytest.mark.parametrize(("call", "kind", "message"), WRONG_USE.values(), ids=WRONG_USE)
def test_wrong_use_is_told(call: Callable[[], Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()


# Each undoes nothing but itself, so that what a body looked like before does not matter.
MANGLINGS: dict[Code, Callable[[bytes], bytes]] = {
    Code.NEWLINE_ADDED: lambda body: body + b"\n",
    Code.BOM_ADDED: lambda body: b"\xef\xbb\xbf" + body,
    Code.NOT_DECOMPRESSED: in_gzip,
    Code.BASE64_BODY: base64.b64encode,
    Code.JSON_IN_STRING: lambda body: json.dumps(body.decode()).encode(),
    Code.WRAPPED_BODY: lambda body: wrapped(body, in_base64=True),
    Code.FORM_BODY: lambda body: urlencode({"payload": body.decode()}).encode(),
    Code.PYTHON_REPR: lambda body: repr(body).encode(),
    Code.JSON_RESERIALISED: redumped(indent=2),
}
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
@given(event=EVENTS, code=st.sampled_from(list(MANGLINGS)))
def test_whatever_is_mangled_in_a_known_way_is_diagnosed_as_that(
    event: dict[str, Any], code: Code
) -> None:
    explanation = with_body(MANGLINGS[code], compact(event)).explained()
    assert [each.code for each in explanation.causes] == [code]


@settings(max_examples=15)
@given(event=EVENTS, code=st.sampled_from(list(MANGLINGS)))
def test_whatever_is_forged_is_never_diagnosed(event: dict[str, Any], code: Code) -> None:
    body = compact(event)
    forged = replace(of(body), body=MANGLINGS[code](body), secret="of the receiver")
    assert forged.explained().causes == ()


@settings(max_examples=40)
@given(body=st.binary() | EVENTS.map(compact), header=st.text() | st.binary() | st.none())
def test_nothing_that_is_received_makes_it_raise(body: bytes, header: Any) -> None:
    explanation = explain(body, header, SECRET, now=NOW, headers=[("x", str(header))])
    assert explanation.reason is not None
    assert explanation.causes == ()


def test_the_package_does_not_load_it() -> None:
    program = "import sys, karla_receiver; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert "karla_receiver.signature" in run.stdout.decode()
    assert "karla_receiver.explain" not in run.stdout.decode()
