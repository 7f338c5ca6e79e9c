from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from email.message import Message
from typing import Any

import pytest

from karla_receiver import Receiver, Request, sign
from karla_receiver.checks import checked_body
from karla_receiver.errors import Reason, RequestError
from karla_receiver.request import BodyBuffer, content_length, relevant_headers
from tests.signing import NOW


@pytest.mark.parametrize("body", ["{}", {"a": 1}, None, 5])
def test_a_body_that_was_decoded_or_parsed_is_refused_at_once(body: Any) -> None:
    with pytest.raises(TypeError, match=r"await request\.body\(\) in Starlette") as refusal:
        Request("POST", {}, body)
    assert type(body).__name__ in str(refusal.value)


async def chunks() -> AsyncIterator[bytes]:
    yield b""


@pytest.mark.parametrize("body", [b"", bytearray(), memoryview(b""), [b""], iter([]), chunks()])
def test_bytes_and_chunks_of_bytes_are_accepted(body: Any) -> None:
    assert Request("POST", {}, body).body is body


def test_a_request_shows_neither_headers_nor_body() -> None:
    request = Request("P\x1b" * 500, {"Karla-Signature": "canary"}, b"canary", "https")

    assert "canary" not in repr(request)
    assert "\x1b" not in repr(request)
    assert len(repr(request)) < 130


@pytest.mark.parametrize(
    "headers",
    [
        {"Karla-Signature": "a"},
        {"KARLA-SIGNATURE": "a"},
        [("karla-signature", "a"), ("karla-signature-2", "b")],
        [(b"kArLa-Signature", "a")],
    ],
)
def test_header_names_match_in_any_case(headers: Any) -> None:
    assert relevant_headers(headers) == (["a"], [])


def test_all_lines_of_a_header_are_found_in_order() -> None:
    lines: Any = [("x", "1"), (b"karla-signature", b"2"), ("Karla-Signature", "3")]
    assert relevant_headers(lines).signature == [b"2", "3"]
    assert repr(relevant_headers(lines)) == "<RelevantHeaders with 2 signature lines>"
    assert relevant_headers([("Content-Length", "1"), (b"content-LENGTH", b"2")]) == (
        [],
        ["1", b"2"],
    )


@pytest.mark.parametrize(
    ("values", "length"),
    [
        ([], None),
        ([""], None),
        (["0"], 0),
        ([b"17"], 17),
        (["17", b"17"], 17),
        (["0017"], 17),
        (["9" * 18], 10**18 - 1),
        (["9" * 19], sys.maxsize),
        (["9" * 1_000_000], sys.maxsize),
    ],
)
def test_a_declared_length_is_read(values: Any, length: int | None) -> None:
    assert content_length(values) == length


@pytest.mark.parametrize(
    "values",
    [["+5"], ["-5"], ["5 "], ["²"], ["\u0665"], ["1_0"], ["5,5"], ["5", "6"], [b"\xff"], ["1e3"]],
)
def test_a_length_that_is_no_decimal_number_is_refused(values: Any) -> None:
    with pytest.raises(RequestError) as refusal:
        content_length(values)
    assert refusal.value.reason is Reason.BAD_CONTENT_LENGTH


def collected(*chunks: Any) -> bytes:
    buffer = BodyBuffer(10)
    for chunk in chunks:
        buffer.add(chunk)
    assert len(buffer.body) == sum(map(len, chunks))
    return buffer.body


def test_chunks_are_joined_in_order() -> None:
    assert collected() == b""
    assert collected(b"", b"ab", b"", b"c", b"d") == b"abcd"


def test_a_single_chunk_is_not_copied() -> None:
    chunk = b"0123456789"
    assert collected(b"", chunk, b"") is chunk


def test_a_buffer_that_its_owner_fills_again_is_copied() -> None:
    chunk: Any = bytearray(b"first")
    buffer = BodyBuffer(10)
    buffer.add(chunk)
    chunk[:] = b"other"
    buffer.add(chunk)
    assert buffer.body == b"firstother"
    assert chunk == b"other"


@pytest.mark.parametrize("sizes", [[11], [5, 6], [1] * 11, [10, 1]])
def test_what_passes_the_limit_is_refused(sizes: list[int]) -> None:
    with pytest.raises(RequestError) as refusal:
        collected(*(b"a" * size for size in sizes))
    assert refusal.value.reason is Reason.BODY_TOO_LARGE


def test_a_refusal_of_a_request_says_what_was_found() -> None:
    with pytest.raises(RequestError) as refusal:
        content_length(["x"])
    assert str(refusal.value) == "bad_content_length: Content-Length is not one decimal number"
    with pytest.raises(RequestError) as refusal:
        collected(b"a" * 11)
    assert str(refusal.value) == "body_too_large: more than 10 bytes"


def test_what_is_no_body_is_refused_with_the_way_to_the_raw_bytes_in_each_framework() -> None:
    with pytest.raises(TypeError) as refusal:
        checked_body("text")
    assert str(refusal.value) == (
        "the body must be bytes, not str. The signature covers the bytes as they came, so a body"
        " that was parsed or decoded cannot be verified. Take the raw bytes: request.get_data() in"
        " Flask, await request.body() in Starlette and FastAPI, request.body in Django,"
        " await request.read() in aiohttp."
    )


def test_a_request_shows_as_much_of_its_method_and_scheme_as_any_real_one_needs() -> None:
    request = Request("M" * 21, {}, b"", "s" * 11)

    assert repr(request) == f"<Request '{'M' * 20}' over '{'s' * 10}'>"


BODY = b"{}"
PAIRS: list[tuple[str, str]] = [
    ("Karla-Signature", sign(BODY, "a-secret", timestamp=NOW)),
    ("Content-Length", "2"),
]
ONE_SHOT: dict[str, Callable[[], Any]] = {
    "generator": lambda: (pair for pair in PAIRS),
    "zip": lambda: zip(*zip(*PAIRS, strict=True), strict=True),
    "map": lambda: map(tuple, PAIRS),
    "items": lambda: dict(PAIRS).items(),
    "a message": lambda: message_with(PAIRS),
}


def message_with(pairs: list[tuple[str, str]]) -> Message:
    message = Message()
    for name, value in pairs:
        message[name] = value
    return message


@pytest.mark.parametrize("make", ONE_SHOT.values(), ids=ONE_SHOT)
def test_headers_may_be_anything_that_yields_pairs_once(make: Callable[[], Any]) -> None:
    response = Receiver("a-secret", clock=lambda: NOW).receive(Request("POST", make(), BODY))
    assert response.reason is Reason.INVALID_ENVELOPE  # and so verified


@pytest.mark.parametrize(
    ("headers", "kind"),
    [("Karla-Signature: t=1", "str"), (b"x", "bytes"), (None, "NoneType"), (5, "int")],
)
def test_headers_that_are_none_are_refused_when_the_request_is_made(
    headers: Any, kind: str
) -> None:
    with pytest.raises(TypeError) as refusal:
        Request("POST", headers, BODY)
    said = f"headers must be a mapping or pairs of name and value, not {kind}"
    assert str(refusal.value) == said


@pytest.mark.parametrize("headers", [["a"], [("a",)], [("a", "b", "c")], [5], [(5, "a")], {5: "a"}])
def test_pairs_that_are_none_are_a_type_error_too(headers: Any) -> None:
    with pytest.raises(TypeError, match="headers must be a mapping or pairs"):
        Receiver("a-secret").receive(Request("POST", headers, BODY))
