"""What befalls people's deliveries, as a table: the measure of how much `explain` finds."""

from __future__ import annotations

import base64
import gzip
import html
import json
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias
from urllib.parse import quote, urlencode

from flask import Flask, jsonify

from karla_receiver import sign
from karla_receiver.explain import Code
from tests.explain.received import Received, as_javascript, as_php, mac, redumped
from tests.signing import NOW

__all__ = ["LOST", "SITUATIONS", "Mangle"]

Mangle: TypeAlias = Callable[[bytes], bytes]

SECRET = "8d0f6c52-3b1e-4b7a-9c44-d1E7a05b92fe"
OLD = "b7c1-an-older-secret-5521"

# No sample: another shop, with fields left out, and letters of several alphabets.
_EVENT = {
    "source": "shipments",
    "ref": "shipments/in_transit/ON_THE_WAY",
    "version": 1,
    "triggered_at": "2026-04-01T06:00:09+00:00",
    "event_group": "shipment_in_transit",
    "event_data": {
        "shipment_id": "0a4f2b9e-9b5c-4c2b-8a71-77cf9f1f6a10",
        "carrier_reference": "gls",
        "event_name": "ON_THE_WAY",
        "phase": "in_transit",
        "direction": "merchant_customer",
        "tracking_number": "GL77001",
        "tracking_url": "https://track.example.org/gls?a=1&b=2",
        "updated_at": "2026-04-01T06:00:09+00:00",
    },
    "context": {
        "order": {
            "external_id": "881",
            "order_number": "KÄ-7",
            "total_order_price": 40.0,
            "shipping_price": 0,
            "currency": "EUR",
            "products": [
                {
                    "sku": "K-1",
                    "title": "Kräuter, groß",
                    "quantity": 2,
                    "price": 20.0,
                    "images": [],
                }
            ],
            "address": {
                "name": "Åsa Lindström",
                "address_line_1": "Søndre gate 4",
                "city": "Kraków",
                "zip_code": "30-001",
                "country_code": "PL",
                "phone": None,
            },
        },
        "customer": {"email": "asa@example.org", "first_name": "Åsa", "last_name": "Lindström"},
    },
    "shop_slug": "kraeuter",
    "shop_id": "77777777-3f0a-4a57-9d3b-0a8f2f3d7c11",
}
# What the samples do not know: fields that came later.
_LATER = {
    **_EVENT,
    "zone": {"warehouse": "B", "bay": 7, "aisle": {"row": 3, "column": 1}},
    "attempt": 1,
}


def written(event: Any) -> bytes:
    """Return an event as Karla writes it."""
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


BODY = written(_EVENT)
LATER = written(_LATER)
OF_LATER = (
    written({**_LATER, "zone": {"warehouse": "C", "bay": 1, "aisle": {"row": 9}}}),
    written({"zone": {"warehouse": "A", "bay": 2, "aisle": {"row": 1, "column": 2}}, "attempt": 9}),
)
IN_LINES = json.dumps(_EVENT, indent=2).encode() + b"\n"


def _jsonified(body: bytes, **settings: Any) -> bytes:
    app = Flask("situations")
    for name, value in settings.items():
        setattr(app.json, name, value)
    with app.app_context():
        return jsonify(json.loads(body)).get_data()


def _of_go(body: bytes) -> bytes:
    """Write as Go's json.Marshal writes a map: sorted, without .0, and safe in HTML."""
    text = json.dumps(
        json.loads(as_javascript(body)), sort_keys=True, ensure_ascii=False, separators=(",", ":")
    )
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e").encode()


def _jsonb(body: bytes) -> bytes:
    """Write as PostgreSQL's jsonb: shorter keys first."""

    def stored(value: Any) -> Any:
        if isinstance(value, list):
            return [stored(each) for each in value]
        if not isinstance(value, dict):
            return value
        return {key: stored(value[key]) for key in sorted(value, key=lambda key: (len(key), key))}

    return json.dumps(stored(json.loads(body)), ensure_ascii=False).encode()


def _of_jackson(body: bytes) -> bytes:
    return redumped(indent=2, separators=(",", " : "), ensure_ascii=False)(body)


def _text(body: bytes) -> bytes:
    return json.dumps(body.decode()).encode()


def _latin(body: bytes) -> bytes:
    return body.decode("latin-1").encode()


def _bom(body: bytes) -> bytes:
    return b"\xef\xbb\xbf" + body


def _newline(body: bytes) -> bytes:
    return body + b"\n"


def _in_gzip(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)


def _lambda(body: bytes) -> bytes:
    return redumped()(
        written(
            {"version": "2.0", "rawPath": "/karla", "body": body.decode(), "isBase64Encoded": 0}
        )
    )


def _sqs(body: bytes) -> bytes:
    message = {"messageId": "19dd", "body": body.decode(), "attributes": {"SentTimestamp": "1"}}
    return redumped()(written({"Records": [{**message, "eventSource": "aws:sqs"}]}))


def _sqs_answer(body: bytes) -> bytes:
    return redumped()(written({"Messages": [{"MessageId": "19dd", "Body": body.decode()}]}))


def _sns(body: bytes) -> bytes:
    notice = {"Type": "Notification", "MessageId": "da41", "TopicArn": "arn:aws:sns:x"}
    return redumped(indent=2)(written({**notice, "Message": body.decode(), "Signature": "EX="}))


def _sns_to_lambda(body: bytes) -> bytes:
    notice = {"Type": "Notification", "Subject": None, "Message": body.decode()}
    return redumped()(written({"Records": [{"EventSource": "aws:sns", "Sns": notice}]}))


def _pubsub(body: bytes) -> bytes:
    message = {"attributes": {"k": "v"}, "data": base64.b64encode(body).decode(), "messageId": "1"}
    return redumped()(written({"message": message, "subscription": "projects/p/subscriptions/s"}))


def _eventbridge(body: bytes) -> bytes:
    return redumped()(written({"detail-type": "karla", "detail": json.loads(body)}))


def _then(*mangles: Mangle) -> Mangle:
    def all_of_them(body: bytes) -> bytes:
        for mangle in mangles:
            body = mangle(body)
        return body

    return all_of_them


def _got(
    *mangles: Mangle,
    of: bytes = BODY,
    secret: str | bytes = SECRET,
    right: str | bytes = SECRET,
    header: Callable[[str], Any] = str,
    **others: Any,
) -> Received:
    """Return what is received of a body that was signed with the right secret."""
    signature = header(f"t={NOW},v1={mac(f'{NOW}.'.encode() + of, right)}")
    return Received(body=_then(*mangles)(of), header=signature, secret=secret, **others)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


_sorted_keys: Mangle = redumped(sort_keys=True, ensure_ascii=False, separators=(",", ":"))
_spaced: Mangle = redumped(ensure_ascii=False)

# What was done, and which causes must be named, whatever their order.
SITUATIONS: dict[str, tuple[Received, set[Code]]] = {
    # The body, parsed and written again.
    "json.dumps": (_got(redumped()), {Code.JSON_RESERIALISED}),
    "json.dumps, indent": (_got(redumped(indent=2)), {Code.JSON_RESERIALISED}),
    "json.dumps of the indented": (_got(redumped(), of=IN_LINES), {Code.JSON_RESERIALISED}),
    "JSON.stringify": (_got(as_javascript), {Code.JSON_RESERIALISED}),
    "JSON.stringify of the indented": (_got(as_javascript, of=IN_LINES), {Code.JSON_RESERIALISED}),
    "PHP": (_got(as_php), {Code.JSON_RESERIALISED}),
    "Jackson": (_got(_of_jackson), {Code.JSON_RESERIALISED}),
    "jq .": (_got(redumped(indent=2, ensure_ascii=False), _newline), {Code.JSON_RESERIALISED}),
    "jq -S .": (_got(redumped(indent=2, sort_keys=True), _newline), {Code.KEYS_REORDERED}),
    "jsonify": (_got(_jsonified), {Code.KEYS_REORDERED}),
    "jsonify of the indented": (_got(_jsonified, of=IN_LINES), {Code.KEYS_REORDERED}),
    "jsonify, debugging": (_got(partial(_jsonified, compact=False)), {Code.KEYS_REORDERED}),
    "jsonify, unsorted": (_got(partial(_jsonified, sort_keys=False)), {Code.JSON_RESERIALISED}),
    "jsonify of later fields": (
        _got(_jsonified, of=LATER, like=OF_LATER),
        {Code.KEYS_REORDERED},
    ),
    "sort_keys of later fields": (
        _got(redumped(sort_keys=True), of=LATER, like=OF_LATER[::-1]),
        {Code.KEYS_REORDERED},
    ),
    "Go's map": (_got(_of_go), {Code.KEYS_REORDERED}),
    "jsonb": (_got(_jsonb), {Code.KEYS_REORDERED}),
    "jsonb of later fields": (_got(_jsonb, of=LATER, like=OF_LATER), {Code.KEYS_REORDERED}),
    "PHP, pretty": (
        _got(lambda body: redumped(indent=4)(body).replace(b"/", b"\\/")),
        {Code.JSON_RESERIALISED},
    ),
    # The body, carried in something else.
    "a newline added": (_got(_newline), {Code.NEWLINES_CHANGED}),
    "a newline lost": (_got(bytes.strip, of=IN_LINES), {Code.NEWLINES_CHANGED}),
    "CR LF": (
        _got(lambda body: body.replace(b"\n", b"\r\n"), of=IN_LINES),
        {Code.NEWLINES_CHANGED},
    ),
    "curl -d": (_got(lambda body: body.replace(b"\n", b""), of=IN_LINES), {Code.NEWLINES_CHANGED}),
    "hex": (_got(lambda body: body.hex().encode()), {Code.ENCODED_BODY}),
    "hex of PostgreSQL": (_got(lambda body: b"\\x" + body.hex().encode()), {Code.ENCODED_BODY}),
    "HTML": (_got(lambda body: html.escape(body.decode()).encode()), {Code.ENCODED_BODY}),
    "base64 twice": (_got(base64.b64encode, base64.b64encode), {Code.ENCODED_BODY}),
    "a byte order mark": (_got(_bom), {Code.BYTE_ORDER_MARK}),
    "gzip": (_got(_in_gzip), {Code.COMPRESSION_CHANGED}),
    "base64": (_got(base64.b64encode), {Code.ENCODED_BODY}),
    "a form": (_got(lambda body: urlencode({"data": body.decode()}).encode()), {Code.ENCODED_BODY}),
    "a JSON string": (_got(_text), {Code.JSON_IN_STRING}),
    "a JSON string in a JSON string": (_got(_text, _text), {Code.JSON_IN_STRING}),
    "a JSON string without its quotes": (
        _got(lambda body: _text(body)[1:-1]),
        {Code.JSON_IN_STRING},
    ),
    "str(bytes)": (_got(lambda body: repr(body).encode()), {Code.PYTHON_REPR}),
    "repr(str)": (_got(lambda body: repr(body.decode()).encode()), {Code.PYTHON_REPR}),
    "str(dict)": (
        _got(lambda body: repr(json.loads(body)).encode()),
        {Code.PYTHON_REPR, Code.JSON_RESERIALISED},
    ),
    "latin-1": (_got(_latin), {Code.CHARSET_CHANGED}),
    "UTF-16": (_got(lambda body: body.decode().encode("utf-16")), {Code.CHARSET_CHANGED}),
    "Lambda": (_got(_lambda), {Code.WRAPPED_BODY}),
    "SQS to Lambda": (_got(_sqs), {Code.WRAPPED_BODY}),
    "SQS, received": (_got(_sqs_answer), {Code.WRAPPED_BODY}),
    "SNS": (_got(_sns), {Code.WRAPPED_BODY}),
    "SNS to Lambda": (_got(_sns_to_lambda), {Code.WRAPPED_BODY}),
    "SNS in SQS": (_got(_sns, _sqs), {Code.WRAPPED_BODY}),
    "Pub/Sub": (_got(_pubsub), {Code.WRAPPED_BODY}),
    "EventBridge": (_got(_eventbridge), {Code.WRAPPED_BODY, Code.JSON_RESERIALISED}),
    "EventGrid": (
        _got(lambda body: written([{"id": "1", "data": json.loads(body)}])),
        {Code.WRAPPED_BODY, Code.JSON_RESERIALISED},
    ),
    "Kafka": (
        _got(lambda body: written({"records": [{"value": _base64(body.decode())}]})),
        {Code.WRAPPED_BODY},
    ),
    "Azure's queue": (
        _got(lambda body: written({"MessageText": _base64(body.decode())})),
        {Code.WRAPPED_BODY},
    ),
    # The secret.
    "secret with a newline": (_got(secret=SECRET + "\r\n"), {Code.SECRET_BLANKS}),
    "secret in quotes": (_got(secret=f'"{SECRET}"'), {Code.SECRET_QUOTED}),
    "secret in two pairs of quotes": (_got(secret=f"'\"{SECRET}\"'"), {Code.SECRET_QUOTED}),
    "secret in typographic quotes": (_got(secret=f"\u201e{SECRET}\u201c"), {Code.SECRET_QUOTED}),
    "secret with one quote": (_got(secret=f'{SECRET}"'), {Code.SECRET_QUOTED}),
    "str(secret.encode())": (_got(secret=f"b'{SECRET}'"), {Code.SECRET_QUOTED}),
    "repr(UUID)": (_got(secret=f"UUID('{SECRET}')"), {Code.SECRET_QUOTED}),
    "secret as a line": (_got(secret=f"SECRET={SECRET}"), {Code.SECRET_LINE}),
    "secret with a comment": (_got(secret=f"{SECRET} # production"), {Code.SECRET_LINE}),
    "quoted secret with a comment": (
        _got(secret=f'"{SECRET}"  # production'),
        {Code.SECRET_LINE},
    ),
    "a line with a comment": (_got(secret=f"export S='{SECRET}' # its"), {Code.SECRET_LINE}),
    "two secrets, comma": (_got(secret=f"{OLD},{SECRET}"), {Code.SECRET_LIST}),
    "two secrets, comma and blank": (_got(secret=f"{SECRET}, {OLD}"), {Code.SECRET_LIST}),
    "two secrets, blank": (_got(secret=f"{SECRET} {OLD}"), {Code.SECRET_LIST}),
    "two secrets, newline": (_got(secret=f"{OLD}\n{SECRET}\n"), {Code.SECRET_LIST}),
    "two secrets, a JSON list": (
        _got(secret=json.dumps([OLD, SECRET])),
        {Code.SECRET_LIST, Code.SECRET_QUOTED},
    ),
    "secret with a comma behind": (_got(secret=f"{SECRET},"), {Code.SECRET_LIST}),
    "quoted secrets, comma": (
        _got(secret=f'"{OLD}","{SECRET}"'),
        {Code.SECRET_LIST, Code.SECRET_QUOTED},
    ),
    "a line with whsec_": (
        _got(secret=f"KARLA_WEBHOOK_SECRET=whsec_{SECRET}"),
        {Code.SECRET_LINE, Code.SECRET_ENCODED},
    ),
    "a line of base64": (
        _got(secret=f"secret: {_base64(SECRET)}"),
        {Code.SECRET_LINE, Code.SECRET_ENCODED},
    ),
    "UUID in braces": (_got(secret="{" + SECRET + "}"), {Code.SECRET_QUOTED}),
    "whsec_ in front": (_got(secret=f"whsec_{SECRET}"), {Code.SECRET_ENCODED}),
    "whsec_ of a base64": (_got(secret=f"whsec_{_base64(SECRET)}"), {Code.SECRET_ENCODED}),
    "whsec_ lost": (_got(secret=SECRET, right=f"whsec_{SECRET}"), {Code.SECRET_RESPELLED}),
    "secret in base64": (_got(secret=_base64(SECRET)), {Code.SECRET_ENCODED}),
    "secret in base64 with a newline": (_got(secret=_base64(SECRET + "\n")), {Code.SECRET_ENCODED}),
    "base64 in quotes": (
        _got(secret=f'"{_base64(SECRET)}"'),
        {Code.SECRET_ENCODED, Code.SECRET_QUOTED},
    ),
    "URL-encoded secret": (
        _got(secret=quote("a+b/c=d", safe=""), right="a+b/c=d"),
        {Code.SECRET_ENCODED},
    ),
    "secret in capitals": (
        _got(secret=SECRET.upper(), right=SECRET.lower()),
        {Code.SECRET_RESPELLED},
    ),
    "UUID without hyphens": (
        _got(secret=SECRET.lower().replace("-", ""), right=SECRET.lower()),
        {Code.SECRET_RESPELLED},
    ),
    "registered with a newline": (
        _got(right=SECRET + "\n"),
        {Code.SECRET_REGISTERED_WITH_BLANKS},
    ),
    "of staging": (
        _got(secret=OLD, others={"staging": SECRET}),
        {Code.SECRET_OF_ANOTHER_ENVIRONMENT},
    ),
    "of staging, in quotes": (
        _got(secret=OLD, others={"staging": f"'{SECRET}'"}),
        {Code.SECRET_OF_ANOTHER_ENVIRONMENT, Code.SECRET_QUOTED},
    ),
    # The header, and the clock.
    "header in quotes": (_got(header=lambda text: f'"{text}"'), {Code.HEADER_RESPELLED}),
    "header cut": (_got(header=lambda text: text[:60]), {Code.HEADER_TRUNCATED}),
    "header twice": (_got(header=lambda text: [text, text]), {Code.HEADER_REPEATED}),
    "header with its name": (
        _got(header=lambda text: f"Karla-Signature: {text}"),
        {Code.HEADER_RESPELLED},
    ),
    "header renamed": (
        _got(header=lambda _: None, headers={"X-Karla": sign(BODY, SECRET, timestamp=NOW)}),
        {Code.HEADER_RENAMED},
    ),
    "an hour late": (_got(now=NOW + 3600), {Code.TOO_LATE}),
    "dated ahead": (_got(now=NOW - 7200), {Code.CLOCK_BEHIND}),
    # Two at once.
    "BOM, and json.dumps": (_got(redumped(), _bom), {Code.BYTE_ORDER_MARK, Code.JSON_RESERIALISED}),
    "JSON string, and json.dumps": (
        _got(redumped(), _text),
        {Code.JSON_IN_STRING, Code.JSON_RESERIALISED},
    ),
    "JSON string, and JSON.stringify": (
        _got(as_javascript, _text),
        {Code.JSON_IN_STRING, Code.JSON_RESERIALISED},
    ),
    "JSON string, and jsonify": (
        _got(_jsonified, _text),
        {Code.JSON_IN_STRING, Code.KEYS_REORDERED},
    ),
    "json.dumps, then latin-1": (
        _got(_spaced, _latin),
        {Code.CHARSET_CHANGED, Code.JSON_RESERIALISED},
    ),
    "latin-1, then json.dumps": (
        _got(_latin, redumped()),
        {Code.CHARSET_CHANGED, Code.JSON_RESERIALISED},
    ),
    "json.dumps, then latin-1, of the escaped": (
        _got(_spaced, _latin, of=IN_LINES),
        {Code.CHARSET_CHANGED, Code.JSON_RESERIALISED},
    ),
    "json.dumps, then sent as latin-1": (
        _got(
            lambda body: _spaced(body).decode().encode("latin-1"),
            of=BODY.replace("ó".encode(), b"o"),
        ),
        {Code.CHARSET_CHANGED, Code.JSON_RESERIALISED},
    ),
    "Lambda, and json.dumps": (
        _got(redumped(), _lambda),
        {Code.WRAPPED_BODY, Code.JSON_RESERIALISED},
    ),
    "SQS, and JSON.stringify": (
        _got(as_javascript, _sqs),
        {Code.WRAPPED_BODY, Code.JSON_RESERIALISED},
    ),
    "SQS, and a newline": (_got(_newline, _sqs), {Code.WRAPPED_BODY, Code.NEWLINES_CHANGED}),
    "SNS in SQS, and jsonify": (
        _got(_jsonified, _sns, _sqs),
        {Code.WRAPPED_BODY, Code.KEYS_REORDERED},
    ),
    "SQS, and str(event)": (
        _got(_sqs, lambda body: repr(json.loads(body)).encode()),
        {Code.WRAPPED_BODY, Code.PYTHON_REPR},
    ),
    "Pub/Sub, and Go's map": (
        _got(_of_go, _pubsub),
        {Code.WRAPPED_BODY, Code.KEYS_REORDERED},
    ),
    "Lambda, and latin-1": (_got(_latin, _lambda), {Code.WRAPPED_BODY, Code.CHARSET_CHANGED}),
    "JSON string, and latin-1": (_got(_latin, _text), {Code.JSON_IN_STRING, Code.CHARSET_CHANGED}),
    "latin-1, and JSON.stringify": (
        _got(as_javascript, _latin),
        {Code.CHARSET_CHANGED, Code.JSON_RESERIALISED},
    ),
    "BOM, and JSON.stringify": (
        _got(as_javascript, _bom),
        {Code.BYTE_ORDER_MARK, Code.JSON_RESERIALISED},
    ),
    "gzip, and base64": (
        _got(_in_gzip, base64.b64encode),
        {Code.COMPRESSION_CHANGED, Code.ENCODED_BODY},
    ),
    "form, and json.dumps": (
        _got(redumped(), lambda body: urlencode({"data": body.decode()}).encode()),
        {Code.ENCODED_BODY, Code.JSON_RESERIALISED},
    ),
    "Go's map, and str(secret.encode())": (
        _got(_of_go, secret=f"b'{SECRET}'"),
        {Code.KEYS_REORDERED, Code.SECRET_QUOTED},
    ),
    "SQS, and two secrets": (
        _got(_sqs, secret=f"{OLD} {SECRET}"),
        {Code.WRAPPED_BODY, Code.SECRET_LIST},
    ),
    "BOM, and the header twice": (
        _got(_bom, header=lambda text: [text, text]),
        {Code.BYTE_ORDER_MARK, Code.HEADER_REPEATED},
    ),
    "base64, and jsonify": (
        _got(_jsonified, base64.b64encode),
        {Code.ENCODED_BODY, Code.KEYS_REORDERED},
    ),
    "BOM, and CR LF": (
        _got(lambda body: _bom(body.replace(b"\n", b"\r\n")), of=IN_LINES),
        {Code.BYTE_ORDER_MARK, Code.NEWLINES_CHANGED},
    ),
    "JSON.stringify, and a quoted secret": (
        _got(as_javascript, secret=f"'{SECRET}'"),
        {Code.JSON_RESERIALISED, Code.SECRET_QUOTED},
    ),
    "JSON.stringify, and two secrets": (
        _got(as_javascript, secret=f"{OLD},{SECRET}"),
        {Code.JSON_RESERIALISED, Code.SECRET_LIST},
    ),
    "JSON.stringify, and whsec_": (
        _got(as_javascript, secret=f"whsec_{_base64(SECRET)}"),
        {Code.JSON_RESERIALISED, Code.SECRET_ENCODED},
    ),
    "jsonify, and a newline in the secret": (
        _got(_jsonified, secret=SECRET + "\n"),
        {Code.KEYS_REORDERED, Code.SECRET_BLANKS},
    ),
    "jsonify, and the secret of staging": (
        _got(_jsonified, secret=OLD, others={"staging": SECRET}),
        {Code.KEYS_REORDERED, Code.SECRET_OF_ANOTHER_ENVIRONMENT},
    ),
    "SNS in SQS, and a comment": (
        _got(_sns, _sqs, secret=f"{SECRET} # prod"),
        {Code.WRAPPED_BODY, Code.SECRET_LINE},
    ),
    "BOM, and a quoted secret": (
        _got(_bom, secret=f'"{SECRET}"'),
        {Code.BYTE_ORDER_MARK, Code.SECRET_QUOTED},
    ),
    "json.dumps, and late": (
        _got(redumped(), now=NOW + 1000),
        {Code.JSON_RESERIALISED, Code.TOO_LATE},
    ),
    "jsonify, and a quoted header": (
        _got(_jsonified, header=lambda text: f"'{text}'"),
        {Code.KEYS_REORDERED, Code.HEADER_RESPELLED},
    ),
}


def _lossy(body: bytes) -> bytes:
    return body.decode().encode("ascii", "replace")


# What nobody can restore: no cause may be named, or called proven.
LOST: dict[str, Received] = {
    "a forgery": _got(secret=SECRET, right="of the forger"),
    "a forgery in a JSON string": _got(_text, right="of the forger"),
    "a forgery in SQS": _got(_sqs, right="of the forger"),
    "a forgery by jsonify, with a genuine one beside": _got(
        _jsonified, of=LATER, right="of the forger", like=OF_LATER
    ),
    "another secret": _got(secret=OLD),
    "another of two secrets": _got(secret=f"{OLD},{OLD[::-1]}"),
    "half the secret": _got(secret=SECRET[:18]),
    "a masked secret": _got(secret="whsec_********"),
    "the variable's name": _got(secret="${KARLA_WEBHOOK_SECRET}"),
    "cut": _got(lambda body: body[:-40]),
    "cut in SQS": _got(lambda body: body[:-40], _sqs),
    "letters replaced": _got(_lossy),
    "letters dropped": _got(lambda body: body.decode().encode("ascii", "ignore")),
    "a price changed": _got(lambda body: body.replace(b"40.0", b"4.0")),
    "a field dropped": _got(lambda body: body.replace(b'"currency":"EUR",', b"")),
    "a field dropped, and json.dumps": _got(
        lambda body: body.replace(b'"currency":"EUR",', b""), redumped()
    ),
    "sorted, of later fields": _got(_sorted_keys, of=LATER),
    "null dropped": _got(lambda body: body.replace(b',"phone":null', b"")),
    "an empty body": _got(lambda _: b""),
    "the body of another delivery": replace(_got(), body=LATER),
    "in Unicode's other form": _got(
        lambda body: unicodedata.normalize("NFKD", body.decode()).encode("ascii", "ignore")
    ),
    "the header of another delivery": replace(_got(), header=sign(LATER, SECRET, timestamp=NOW)),
    "a cut header, forged": _got(right="of the forger", header=lambda text: text[:60]),
    "ten digits of a signature": _got(header=lambda text: text[:27]),
}
