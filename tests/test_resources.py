"""What a stranger can make a receiver spend: counted, never timed."""

from __future__ import annotations

import asyncio
import gc
import threading
import tracemalloc
from collections.abc import Iterator
from itertools import repeat
from typing import Any

import pytest

from karla_receiver import Reason, Receiver, Request, sign
from karla_receiver.adapters.asgi import KarlaApp
from karla_receiver.observing.logs import logger
from karla_receiver.signature.keys import Key
from tests.doors import asgi_scope, signed_knock
from tests.signing import BODY

SECRETS = ("first-secret", "second-secret", "third-secret")
MEBIBYTE = 1_048_576


def forged() -> str:
    """Return a fresh header of another body. One made at import would be too old in a long run."""
    return sign(b"another body", SECRETS[0])


@pytest.fixture
def digests(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the hashes that are made, by the size of the body."""
    sizes: list[int] = []
    original = Key.digest

    def counted(self: Key, prefix: bytes, body: bytes) -> bytes:
        sizes.append(len(body))
        return original(self, prefix, body)

    monkeypatch.setattr(Key, "digest", counted)
    return sizes


@pytest.fixture
def no_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "karla_receiver.receiver.parse_event", lambda body: pytest.fail("JSON was parsed")
    )


@pytest.mark.usefixtures("no_json")
@pytest.mark.parametrize("signatures", [1, 16])
def test_a_forged_request_costs_one_hash_a_secret_whatever_it_lists(
    digests: list[int], signatures: int
) -> None:
    header = forged().split(",")[0] + ",v1=" + ",v1=".join(["0" * 64] * signatures)
    digests.clear()
    response = Receiver(*SECRETS).receive(Request("POST", {"Karla-Signature": header}, BODY))

    assert response.reason is Reason.SIGNATURE_MISMATCH
    assert digests == [len(BODY)] * len(SECRETS)


@pytest.mark.usefixtures("no_json")
@pytest.mark.parametrize(
    "header",
    [
        "a" * 1_000_000,
        "t=1" + "," * 1_000_000,
        ",".join(["v1=" + "0" * 64] * 10_000),
        "t=" + "9" * 1_000_000,
        "t=1,v1=" + "a" * 4_000,
        ["t=1"] + ["v1=" + "0" * 64] * 1000,
    ],
    ids=lambda header: str(header)[:20],
)
def test_a_malformed_header_costs_no_hash_and_the_body_stays_unread(
    digests: list[int], header: Any
) -> None:
    def unread() -> Iterator[bytes]:
        pytest.fail("the body was read")
        yield b""

    lines = header if isinstance(header, list) else [header]
    headers = [("karla-signature", line) for line in lines]
    response = Receiver(*SECRETS).receive(Request("POST", headers, unread()))

    assert response.reason is Reason.MALFORMED_HEADER
    assert digests == []


def peak_of(work: Any) -> int:
    """Return how many bytes more than before were allocated at the worst moment."""
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        work()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_forged_bodies_of_a_mebibyte_leave_no_memory_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logger, "disabled", True)  # pytest keeps what is logged
    shop = Receiver(*SECRETS)
    request = Request("POST", {"Karla-Signature": forged()}, b"a" * MEBIBYTE)
    shop.receive(request)

    def many() -> None:
        for _ in range(200):
            assert shop.receive(request).status == 401

    assert peak_of(many) < 65_536


def test_a_long_genuine_body_costs_no_more_memory_than_its_text() -> None:
    """The text is decoded from the body, which the server holds. Nothing is copied beside it."""
    body = b'{"event_group":"x","text":"%s"}' % (b"a" * 1_000_000)
    shop = Receiver(SECRETS[0])
    request = Request("POST", {"Karla-Signature": sign(body, SECRETS[0])}, body)

    assert peak_of(lambda: shop.receive(request)) < 1.1 * len(body)


@pytest.mark.parametrize("length", [None, "104857600"])
def test_a_hundred_megabytes_are_refused_in_bounded_memory(length: str | None) -> None:
    headers = [("karla-signature", forged())]
    headers += [] if length is None else [("content-length", length)]
    read: list[int] = []

    def stream() -> Iterator[bytes]:
        for _ in range(1600):
            read.append(65_536)
            yield bytes(65_536)

    def refuse() -> None:
        response = Receiver(*SECRETS).receive(Request("POST", headers, stream()))
        assert response.status == 413

    assert peak_of(refuse) < 2.5 * MEBIBYTE
    assert sum(read) == (0 if length else MEBIBYTE + 65_536)


def test_a_body_in_many_chunks_is_held_once() -> None:
    chunk = b"a" * 1024

    def receive() -> None:
        request = Request("POST", {"Karla-Signature": forged()}, repeat(chunk, 1024))
        assert Receiver(*SECRETS).receive(request).status == 401

    # A growing buffer is moved now and then, and is never twice the size of what it holds.
    assert peak_of(receive) < 2.2 * MEBIBYTE


def test_thousands_of_aborted_uploads_leave_no_task_and_no_thread() -> None:
    app = KarlaApp(Receiver(*SECRETS))
    scope = asgi_scope(signed_knock(secret=SECRETS[0]))

    async def abort_many() -> int:
        for place in range(3000):
            messages = iter(
                [{"type": "http.request", "body": BODY[: place % 1800], "more_body": True}]
            )

            async def receive(messages: Iterator[Any] = messages) -> Any:
                return next(messages, {"type": "http.disconnect"})

            async def send(message: Any) -> None:
                pytest.fail("an answer was sent to nobody")

            await app(scope, receive, send)
        return len(asyncio.all_tasks())

    threads = threading.active_count()
    assert asyncio.run(abort_many()) == 1
    assert threading.active_count() <= threads  # one of another test may end meanwhile
