"""Properties that hold across doors: whatever comes in, all of them say the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from karla_receiver import Event, Receiver, samples, sign
from tests.doors import (
    DOORS,
    Answer,
    Knock,
    signed_knock,
    through_asgi,
    through_core,
    through_core_async,
    through_wsgi,
)
from tests.frameworks.flask import through_flask
from tests.signing import NOW, SECRET

SAMPLES = [samples.read(name) for name in samples.names()]

BODIES = st.one_of(
    st.sampled_from(SAMPLES),
    st.binary(max_size=200),
    st.sampled_from(SAMPLES).map(lambda body: body[:-1]),
    st.sampled_from([b"{}", b"[]", b"null", b"", b'{"event_group":"x"}', b"\xff", b"[" * 100]),
    st.just(b'{"event_group":"x","source":"shipments"}'),
    st.just(b"a" * 5000),
)
LINE = st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=100)


@st.composite
def knocks(draw: st.DrawFn) -> Knock:
    """Requests of which many pass the first checks, and some pass them all."""
    body = draw(BODIES)
    signature = sign(
        draw(st.sampled_from([body, b""])),
        draw(st.sampled_from([SECRET, "another-secret"])),
        timestamp=NOW + draw(st.sampled_from([0, -300, 300, -301, 301])),
    )
    lines = draw(
        st.one_of(
            st.just([signature]),
            st.just(signature.split(",")),
            st.lists(LINE, max_size=3),
            LINE.map(lambda line: [signature, line]),
        )
    )
    headers = [("Karla-Signature", line) for line in lines]
    # Always a length: WSGI takes a body without one for an empty one.
    length = draw(st.sampled_from([str(len(body))] * 4 + ["99999999", "x", "-1"]))
    headers.append(("Content-Length", length))
    method = draw(st.sampled_from(["POST"] * 5 + ["GET", "HEAD", "post", "PUT"]))
    return Knock(method=method, headers=headers, body=body)


def outcome(door: Any, knock: Knock) -> tuple[Answer, list[str | None]]:
    refs: list[str | None] = []
    receiver = Receiver(SECRET, clock=lambda: NOW, max_body_bytes=4096)

    @receiver.on("*")
    def handler(event: Event) -> None:
        refs.append(event.ref)

    @receiver.on("shipments")
    def typed(event: Event) -> None:
        if event.event_group.endswith("damaged"):
            raise LookupError

    return door(receiver, knock), refs


@given(knock=knocks())
def test_all_doors_answer_any_request_alike(knock: Knock) -> None:
    # Flask spells methods in upper case before any view sees them, so `post` is POST there.
    doors = [door for name, door in DOORS.items() if name != "flask" or knock.method != "post"]
    first, *others = [outcome(door, knock) for door in doors]

    for other in others:
        assert other == first


@given(data=st.data(), body=st.one_of(st.sampled_from(SAMPLES), st.binary(max_size=300)))
def test_a_body_split_anywhere_gives_the_same_answer(data: st.DataObject, body: bytes) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=6)))
    pieces = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    knock = signed_knock(body, timestamp=NOW)
    whole = outcome(through_core, knock)

    knock.messages = iter(
        [
            {"type": "http.request", "body": piece, "more_body": place < len(pieces)}
            for place, piece in enumerate(pieces, 1)
        ]
    )
    assert outcome(through_asgi, knock) == whole
    knock.read_at_most = data.draw(st.integers(1, 64))
    assert outcome(through_wsgi, knock) == whole
    assert outcome(through_flask, knock) == whole
    knock.pieces = pieces
    assert outcome(through_core, knock) == whole
    assert outcome(through_core_async, knock) == whole


@pytest.mark.parametrize("status", [200, 400, 401, 405, 413, 500])
def test_the_requests_drawn_reach_answers_of_every_kind(status: int) -> None:
    """Guards the properties above: a strategy that only makes rubbish would prove little."""

    def is_answered_so(knock: Knock) -> bool:
        return outcome(through_core, knock)[0].status == status

    search = settings(max_examples=2000, database=None, phases=[Phase.generate])
    assert is_answered_so(find(knocks(), is_answered_so, settings=search))
