"""The secret of the tests, and what is signed with it."""

from __future__ import annotations

from typing import Any

from karla_receiver import Request, samples, sign

__all__ = ["BODY", "DOCS_SECRET", "NOW", "SECRET", "signature_header", "signed"]

SECRET = "41013bd9-9072-42cd-9902-66da38361be9"
# The secret that the pages and the README show.
DOCS_SECRET = "your-webhook-secret"
BODY = samples.read("shipment_delivered")
# For a receiver whose clock is set, in unix seconds.
NOW = 1_700_000_000


def signature_header(
    body: bytes = BODY, secret: str = SECRET, *, timestamp: int | None = None
) -> dict[str, str]:
    """Return the header that Karla would send. timestamp: unix seconds; None is the present."""
    return {"Karla-Signature": sign(body, secret, timestamp=timestamp)}


def signed(
    signed_body: bytes = BODY,
    /,
    secret: str = SECRET,
    *,
    timestamp: int | None = None,
    **fields: Any,
) -> Request:
    """Return the request that Karla would send. fields: what it has instead, as another body."""
    headers = signature_header(signed_body, secret, timestamp=timestamp)
    given: dict[str, Any] = {"method": "POST", "headers": headers, "body": signed_body, **fields}
    return Request(**given)
