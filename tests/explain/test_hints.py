"""What is only hinted at."""

from __future__ import annotations

from dataclasses import replace

import pytest

from karla_receiver.explain import Code
from tests.explain.received import (
    COMPACT,
    GENUINE,
    OTHER_HEADER,
    Received,
    redumped,
    with_body,
    with_header,
)
from tests.explain.situations import LATER
from tests.signing import NOW

# Facts about what came, where nothing can be proven.
HINTS: dict[str, tuple[Received, list[Code]]] = {
    "no header": (replace(GENUINE, header=None), []),
    "an empty header": (replace(GENUINE, header=""), []),
    "a blank header": (
        replace(GENUINE, header="  ", headers={"Karla-Signature": "  "}),
        [],
    ),
    "a header that is beyond repair": (replace(GENUINE, header="Bearer abc"), []),
    "a time that is no number": (
        with_header(lambda text: text.replace(str(NOW), "today")),
        [Code.TIMESTAMP_RESPELLED],
    ),
    "a forgery that came twice": (
        with_header(lambda text: [OTHER_HEADER] * 2),
        [Code.HEADER_REPEATED],
    ),
    "as many digits as SHA-1 has": (
        with_header(lambda text: f"t={NOW},v1={'ab' * 20}"),
        [Code.OTHER_SCHEME],
    ),
    "a digest of t and the body, without t": (
        with_header(lambda text: text.partition(",v1=")[2]),
        [Code.HEADER_RESPELLED],
    ),
    "a damaged header of a forgery": (
        with_header(lambda text: f'"{text[:-1]}0"'.replace("00", "01")),
        [Code.HEADER_RESPELLED],
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
    "sorted keys": (with_body(redumped(sort_keys=True), LATER), [Code.SORTED_KEYS]),
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


# Where the header is what is wrong, that is told beside the hints.
OF_THE_HEADER = {Code.NO_HEADER, Code.MALFORMED_HEADER, Code.NO_V1}


HINTS_ALONE = (
    Code.BODY_CUT,
    Code.EMPTY_BODY,
    Code.OTHER_LENGTH,
    Code.ENCODING_DECLARED,
    Code.SORTED_KEYS,
    Code.NOT_JSON,
)


@pytest.mark.parametrize(("received", "codes"), HINTS.values(), ids=HINTS)
def test_what_cannot_be_proven_is_only_hinted_at(received: Received, codes: list[Code]) -> None:
    explanation = received.explained()

    assert {each.code for each in explanation.causes} <= OF_THE_HEADER
    assert not explanation.is_proven
    assert [each.code for each in explanation.hints] == codes


def test_every_hint_has_a_row() -> None:
    assert set(HINTS_ALONE) - {Code.BODY_CUT} <= {
        code for _, codes in HINTS.values() for code in codes
    }
