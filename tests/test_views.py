from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from karla_receiver import Event, Receiver, Response, views
from karla_receiver.errors import Reason
from tests.signing import SECRET, signed


def status_of(answer: Any) -> int:
    return int(answer["status"])


class Callable:
    """A view that is an object, and async."""

    async def __call__(self, event: Event) -> dict[str, object]:
        return {"status": 202, "thread": threading.current_thread()}


def test_an_async_view_of_any_kind_runs_on_the_event_loop() -> None:
    answer = asyncio.run(views.receive_async(Receiver(SECRET), signed(), Callable(), status_of))
    assert answer == {"status": 202, "thread": threading.main_thread()}


def test_a_sync_view_runs_in_a_thread() -> None:
    def view(event: Event) -> dict[str, object]:
        return {"status": 202, "thread": threading.current_thread()}

    answer: Any = asyncio.run(views.receive_async(Receiver(SECRET), signed(), view, status_of))
    assert answer["thread"] is not threading.main_thread()


@pytest.mark.parametrize("answer", ["no dict", {"status": "no number"}])
def test_what_has_no_status_is_no_answer(answer: Any) -> None:
    async def async_view(event: Event) -> Any:
        return answer

    receiver = Receiver(SECRET)
    for result in (
        views.receive(receiver, signed(), lambda event: answer, status_of),
        asyncio.run(views.receive_async(receiver, signed(), async_view, status_of)),
    ):
        assert isinstance(result, Response)
        assert result.reason == Reason.HANDLER_ERROR


def test_chunks_are_kept_until_the_sender_is_gone() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"
        raise ConnectionError

    body = views.KeptBody(chunks(), (ConnectionError,), lambda: True, "")
    request = signed(body=body)
    result: Any = asyncio.run(views.receive_async(Receiver(SECRET), request, None, status_of))

    assert body.joined == b"one two"
    assert result.reason == Reason.BODY_INCOMPLETE, "for nobody to read"
