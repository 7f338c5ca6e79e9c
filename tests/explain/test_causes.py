"""What is proven: by the right secret, or the body that was signed."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from dataclasses import replace
from functools import cache
from urllib.parse import quote, quote_plus, urlencode

import msgspec
import pytest

from karla_receiver import ConfigurationError, SignatureError, Verifier, sign
from karla_receiver.explain import Code, Explanation
from tests.explain.received import (
    COMPACT,
    DIGEST,
    ESCAPED,
    GENUINE,
    INDENTED,
    OTHER_HEADER,
    SECRET,
    Received,
    as_javascript,
    as_php,
    compact,
    configured,
    in_gzip,
    mac,
    other_algorithm,
    redumped,
    signed_as,
    with_body,
    with_header,
    wrapped,
)
from tests.explain.test_hints import HINTS_ALONE
from tests.explain.test_told import TOLD
from tests.signing import NOW

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
        [Code.JSON_RESERIALISED],
    ),
    "unicode unescaped": (
        with_body(redumped(ensure_ascii=False), ESCAPED),
        [Code.JSON_RESERIALISED],
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
    "newline added": (with_body(lambda body: body + b"\n"), [Code.NEWLINES_CHANGED]),
    "CR LF added": (with_body(lambda body: body + b"\r\n"), [Code.NEWLINES_CHANGED]),
    "newlines added": (with_body(lambda body: body + b"\n\n\n"), [Code.NEWLINES_CHANGED]),
    "blanks added": (with_body(lambda body: b" " + body + b" \n"), [Code.NEWLINES_CHANGED]),
    "newline lost": (with_body(lambda body: body[:-1], INDENTED), [Code.NEWLINES_CHANGED]),
    "CR LF lost": (signed_as(COMPACT + b"\r\n"), [Code.NEWLINES_CHANGED]),
    "LF became CR LF": (
        with_body(lambda body: body.replace(b"\n", b"\r\n"), INDENTED),
        [Code.NEWLINES_CHANGED],
    ),
    "CR LF became LF": (
        with_body(lambda body: body.replace(b"\r\n", b"\n"), INDENTED.replace(b"\n", b"\r\n")),
        [Code.NEWLINES_CHANGED],
    ),
    "CR LF became LF, and the last was lost": (
        with_body(
            lambda body: body.replace(b"\r\n", b"\n").rstrip(), INDENTED.replace(b"\n", b"\r\n")
        ),
        [Code.NEWLINES_CHANGED],
    ),
    "newline in front": (with_body(lambda body: b"\n" + body), [Code.NEWLINES_CHANGED]),
    "newline in front lost": (signed_as(b"\n" + COMPACT), [Code.NEWLINES_CHANGED]),
    "BOM added": (with_body(lambda body: b"\xef\xbb\xbf" + body), [Code.BYTE_ORDER_MARK]),
    "BOM lost": (signed_as(b"\xef\xbb\xbf" + COMPACT), [Code.BYTE_ORDER_MARK]),
    "BOM and newline added": (
        with_body(lambda body: b"\xef\xbb\xbf" + body + b"\n"),
        [Code.NEWLINES_CHANGED, Code.BYTE_ORDER_MARK],
    ),
    "still in gzip": (with_body(in_gzip), [Code.COMPRESSION_CHANGED]),
    "still in deflate": (with_body(zlib.compress), [Code.COMPRESSION_CHANGED]),
    "gzip was undone": (signed_as(in_gzip(COMPACT)), [Code.COMPRESSION_CHANGED]),
    "gzip -1 was undone": (
        signed_as(gzip.compress(COMPACT, compresslevel=1, mtime=0)),
        [Code.COMPRESSION_CHANGED],
    ),
    "still in base64": (with_body(base64.b64encode), [Code.ENCODED_BODY]),
    "still in base64 for URLs": (
        with_body(lambda body: base64.urlsafe_b64encode(body).rstrip(b"=") + b"\n"),
        [Code.ENCODED_BODY],
    ),
    "base64 of reserialised JSON": (
        with_body(lambda body: base64.b64encode(redumped()(body))),
        [Code.ENCODED_BODY, Code.JSON_RESERIALISED],
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
        [Code.ENCODED_BODY],
    ),
    "a form field's name": (
        with_body(lambda body: (quote_plus(body.decode()) + "=").encode()),
        [Code.ENCODED_BODY],
    ),
    "percent-encoded": (with_body(lambda body: quote(body.decode()).encode()), [Code.ENCODED_BODY]),
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
        [Code.OTHER_SCHEME],
    ),
    "signed with a colon": (
        replace(GENUINE, header=f"t={NOW},v1={mac(f'{NOW}:'.encode() + COMPACT)}"),
        [Code.OTHER_SCHEME],
    ),
    "signed over the repr of bytes": (
        replace(GENUINE, header=f"t={NOW},v1={mac(f'{NOW}.{COMPACT!r}'.encode())}"),
        [Code.OTHER_SCHEME],
    ),
    "signed as GitHub does": (
        replace(GENUINE, header=f"sha256={mac(COMPACT)}"),
        [Code.HEADER_RESPELLED, Code.OTHER_SCHEME],
    ),
    "signed as GitHub does, under its name": (
        replace(GENUINE, header=None, headers={"X-Hub-Signature-256": f"sha256={mac(COMPACT)}"}),
        [Code.HEADER_RENAMED, Code.HEADER_RESPELLED, Code.OTHER_SCHEME],
    ),
    "digits alone": (
        replace(GENUINE, header=mac(COMPACT)),
        [Code.HEADER_RESPELLED, Code.OTHER_SCHEME],
    ),
    "sha256 in place of v1": (
        with_header(lambda text: text.replace("v1=", "sha256=")),
        [Code.HEADER_RESPELLED],
    ),
    "v0 in place of v1": (
        with_header(lambda text: text.replace("v1=", "v0=")),
        [Code.HEADER_RESPELLED],
    ),
    "SHA-1": (other_algorithm("sha1"), [Code.OTHER_SCHEME]),
    "SHA-512": (other_algorithm("sha512"), [Code.OTHER_SCHEME]),
    "SHA-1, and a newline in the secret": (
        replace(other_algorithm("sha1"), secret=SECRET + "\n"),
        [Code.OTHER_SCHEME, Code.SECRET_BLANKS],
    ),
    "SHA-1 of the body alone": (
        replace(GENUINE, header=f"sha1={mac(COMPACT, algorithm='sha1')}"),
        [
            Code.HEADER_RESPELLED,
            Code.OTHER_SCHEME,
        ],
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
    "two secrets": (configured(f"of-production,{SECRET}"), [Code.SECRET_LIST]),
    "secret in base64": (
        configured(base64.b64encode(SECRET.encode()).decode()),
        [Code.SECRET_ENCODED],
    ),
    "secret in base64 with a newline": (
        configured(base64.b64encode(SECRET.encode() + b"\n").decode()),
        [Code.SECRET_ENCODED],
    ),
    "secret in hex": (configured(SECRET.encode().hex()), [Code.SECRET_ENCODED]),
    "secret decoded from base64": (configured(base64.b64decode(SECRET)), [Code.SECRET_RESPELLED]),
    "secret decoded from hex": (
        configured(bytes.fromhex(SECRET), SECRET.lower()),
        [Code.SECRET_RESPELLED],
    ),
    "secret URL-encoded": (
        configured("a%2Bb%2Fc%3D-secret", "a+b/c=-secret"),
        [Code.SECRET_ENCODED],
    ),
    "secret in lower case": (configured(SECRET.lower(), SECRET.upper()), [Code.SECRET_RESPELLED]),
    "secret in upper case": (configured(SECRET.upper(), SECRET.lower()), [Code.SECRET_RESPELLED]),
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
        [Code.HEADER_RESPELLED],
    ),
    "header broken within v1": (
        with_header(lambda text: text[:50] + "\n" + text[50:]),
        [Code.HEADER_RESPELLED],
    ),
    "header in two lines": (
        with_header(lambda text: [text[:50], text[50:]]),
        [Code.HEADER_RESPELLED],
    ),
    "header as bytes in two lines": (
        with_header(lambda text: [text[:50].encode(), b" " + text[50:].encode()]),
        [Code.HEADER_RESPELLED],
    ),
    "the same header twice": (with_header(lambda text: [text] * 2), [Code.HEADER_REPEATED]),
    "the same header three times, joined": (
        with_header(lambda text: f"{text}, {text},{text}"),
        [Code.HEADER_REPEATED],
    ),
    "another header in a line before": (
        with_header(lambda text: [OTHER_HEADER, text]),
        [Code.HEADER_REPEATED],
    ),
    "headers joined": (
        with_header(lambda text: f"{OTHER_HEADER},{text}"),
        [Code.HEADER_REPEATED],
    ),
    "headers joined with a semicolon": (
        with_header(lambda text: f"{text}; {OTHER_HEADER}"),
        [Code.HEADER_REPEATED],
    ),
    "header quoted": (with_header(lambda text: f'"{text}"'), [Code.HEADER_RESPELLED]),
    "header as repr of bytes": (
        with_header(lambda text: repr(text.encode())),
        [Code.HEADER_RESPELLED],
    ),
    "header with quoted values": (
        with_header(lambda text: f't="{NOW}",v1="{DIGEST}"'),
        [Code.HEADER_RESPELLED],
    ),
    "header URL-encoded": (with_header(quote), [Code.HEADER_RESPELLED]),
    "header quoted and URL-encoded": (
        with_header(lambda text: quote(f'"{text}"')),
        [Code.HEADER_RESPELLED],
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
        [Code.HEADER_RESPELLED],
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
        [Code.HEADER_RESPELLED],
    ),
    "t in milliseconds": (
        replace(GENUINE, header=sign(COMPACT, SECRET, timestamp=NOW * 1000)),
        [Code.TIMESTAMP_RESPELLED],
    ),
    "t in milliseconds, signed in seconds": (
        replace(GENUINE, header=f"t={NOW}123,v1={DIGEST}"),
        [Code.TIMESTAMP_RESPELLED],
    ),
    "t in nanoseconds": (
        replace(GENUINE, header=f"t={NOW}000000000,v1={DIGEST}"),
        [Code.TIMESTAMP_RESPELLED],
    ),
    "t with a fraction": (
        replace(GENUINE, header=f"t={NOW}.25,v1={mac(f'{NOW}.25.'.encode() + COMPACT)}"),
        [Code.TIMESTAMP_RESPELLED],
    ),
    "t with a fraction, signed without": (
        replace(GENUINE, header=f"t={NOW}.25,v1={DIGEST}"),
        [Code.TIMESTAMP_RESPELLED],
    ),
    "a clock an hour off": (replace(GENUINE, now=NOW - 3600 + 2), [Code.CLOCK_BEHIND]),
    "two hours late to the second": (replace(GENUINE, now=NOW + 7200), [Code.TOO_LATE]),
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
        [Code.NEWLINES_CHANGED, Code.SECRET_OF_ANOTHER_ENVIRONMENT],
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
    assert explained(row).is_proven == bool(CAUSES[row][1])


def test_every_cause_that_can_be_proven_has_a_row() -> None:
    proven = set(Code) - set(HINTS_ALONE) - set(TOLD)
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
