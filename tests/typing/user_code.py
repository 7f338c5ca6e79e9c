"""Code as a user writes it, for type checkers only: nothing here is run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from datetime import datetime
from typing import Any, assert_type

from karla_receiver import (
    ClaimEvent,
    Event,
    EventGroup,
    PayloadError,
    Phase,
    Reason,
    Receiver,
    Request,
    Response,
    ShipmentEvent,
    SignatureError,
    UnknownEvent,
    Verified,
    Verifier,
    parse_event,
    sign,
)
from karla_receiver.adapters import (
    asgi,
)
from karla_receiver.events import Order

receiver = Receiver("secret", b"old-secret", tolerance=60, require_https=True)
from_env = Receiver.from_env(max_body_bytes=65_536)


@receiver.on("shipments/delivered", "shipments/collect")
def on_shipment(event: ShipmentEvent) -> None:
    assert_type(event.shipment_id, str)
    assert_type(event.phase, str | None)
    assert_type(event.updated_at, datetime | None)
    assert_type(event.order, Order | None)
    assert_type(event.raw, dict[str, Any])
    if event.phase == Phase.DELIVERED:
        assert_type(event.order_number, str | None)


@receiver.on(group=EventGroup.CLAIM_CREATED)
async def on_claim(event: ClaimEvent) -> None:
    assert_type(event.claim_id, str)
    for item in event.event_data.selected_items:
        assert_type(item.quantity, int | None)


@receiver.around
@contextmanager
def session(event: Event) -> Generator[None]:
    yield


@receiver.around
@asynccontextmanager
async def async_session(event: Event) -> AsyncGenerator[None]:
    yield


@receiver.around
def application_context(event: Event) -> AbstractContextManager[None]:
    return session(event)


receiver.around(application_context, outermost=True)


def parse_shipment() -> ShipmentEvent:
    event = parse_event(b"{}")
    assert_type(event, Event)
    match event:
        case ShipmentEvent():
            return event
        case UnknownEvent(problem=problem):
            raise LookupError(problem)
        case _:
            raise TypeError


# A decorated handler keeps its type.
assert_type(on_shipment(parse_shipment()), None)


def by_hand(body: bytes, header: str | None) -> int | None:
    try:
        verified = Verifier("secret").verify(body, header)
    except SignatureError as error:
        assert_type(error.reason, Reason)
        assert_type(error.clock_skew, float | None)
        return error.status
    except PayloadError as error:
        return error.status
    assert_type(verified, Verified)
    assert_type(sign(body, "secret", timestamp=verified.timestamp), str)
    return verified.secret_index


async def through_the_receiver(headers: dict[str, str], body: bytes) -> None:
    assert_type(receiver.receive(Request("POST", headers, body, "https")), Response)
    assert_type(await receiver.receive_async(Request("POST", [(b"a", b"b")], [body])), Response)
    assert_type(receiver.enabled_events, list[str])


standalone = asgi.KarlaMiddleware(asgi.KarlaApp(receiver), receiver)
