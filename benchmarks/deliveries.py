"""What is measured with: bodies of a given size, signed, as requests."""

from __future__ import annotations

import hmac
import json
import time
from hmac import compare_digest

import msgspec

from benchmarks.slices import Work
from karla_receiver import Request, ShipmentEvent, samples, sign

__all__ = [
    "BODY",
    "BODY_5_KB",
    "FORGED",
    "SECRET",
    "body_of",
    "by_hand",
    "hash_floor",
    "request",
    "typed_decode",
]

SECRET = "41013bd9-9072-42cd-9902-66da38361be9"
_KEY = SECRET.encode()


def body_of(size: int) -> bytes:
    """Return an envelope of exactly so many bytes, with names as Karla's customers have them."""
    order = json.loads(samples.read("shipment_delivered"))
    frame = {"event_group": order["event_group"], "source": order["source"], "names": ""}
    start = json.dumps(frame, ensure_ascii=False).encode()[:-2]
    name = "Jörg Müßiggänger, Straße der Brüder 7, Köln; ".encode()
    room = size - len(start) - 2
    text = (name * (room // len(name) + 1))[:room].decode(errors="ignore").encode()
    return start + text.ljust(room) + b'"}'


BODY = samples.read("shipment_delivered_to_neighbour")  # 2,034 bytes


def _with_images() -> bytes:
    event = json.loads(BODY)
    products = event["context"]["order"]["products"]
    for product in products:
        folder = f"https://cdn.shop.example/s/files/1/0457/7781/{product['sku']}/products"
        product["images"] = [{"src": f"{folder}/{number:032x}.jpg"} for number in range(14)]
    return json.dumps(event, ensure_ascii=False).encode()


BODY_5_KB = _with_images()
FORGED = sign(b"another body", SECRET)


def request(body: bytes, header: str) -> Request:
    """Return a request with the headers that Karla sends."""
    headers = [
        ("host", "shop.example"),
        ("user-agent", "karla"),
        ("accept", "*/*"),
        ("content-type", "application/json"),
        ("karla-signature", header),
        ("content-length", str(len(body))),
    ]
    return Request("POST", headers, body)


def hash_floor(body: bytes) -> Work:
    """Return what nobody can do without: one HMAC of the message ready-made, and the comparison."""
    message = b"%d." % int(time.time()) + body
    digest = hmac.digest(_KEY, message, "sha256")
    return lambda: compare_digest(hmac.digest(_KEY, message, "sha256"), digest)


def typed_decode(body: bytes) -> Work:
    """Return what reading costs at least: one decode into the types, without any other check."""
    decode = msgspec.json.Decoder(ShipmentEvent).decode
    return lambda: decode(body)


def by_hand(body: bytes) -> Work:
    """Return both in one, as a user would write them: the HMAC, and one decode into types."""
    message = b"%d." % int(time.time()) + body
    digest = hmac.digest(_KEY, message, "sha256")
    decode = msgspec.json.Decoder(ShipmentEvent).decode

    def work() -> ShipmentEvent | None:
        if compare_digest(hmac.digest(_KEY, message, "sha256"), digest):
            return decode(body)
        return None

    return work
