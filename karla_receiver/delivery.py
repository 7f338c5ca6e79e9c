"""A verified delivery as it is kept: the signed bytes, and what is needed to verify them again."""

from __future__ import annotations

import msgspec

from karla_receiver.events import decodable

__all__ = ["Delivery"]


@decodable
class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One verified delivery.

    key: the idempotency key. Deliveries with the same key are the same one.
    occurrence: what `occurrence_key` says of the event; empty if it could not be read.
    body: the raw bytes that were signed.
    headers: pairs of lower-case name and value: the signature header's lines, as received.
    received_at: unix seconds, by the verifier's clock.
    ref: of the event, for lists of what is kept; None if it has none or could not be read.
    event_group: likewise.
    problem: why a genuine body is not an event; None for one that is.
    """

    key: str
    occurrence: str
    body: bytes
    headers: tuple[tuple[str, str], ...]
    received_at: float
    ref: str | None = None
    event_group: str | None = None
    problem: str | None = None

    def __repr__(self) -> str:
        # Neither body nor headers: they hold personal data and a signature.
        return f"<Delivery {self.key!a} ref={self.ref!a} {len(self.body)} bytes>"
