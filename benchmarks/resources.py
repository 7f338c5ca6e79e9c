"""What hostile input costs: milliseconds, ratio to one hash, and memory at the worst moment.

Usage: python -m benchmarks.resources

The ratio is to one HMAC-SHA256 of a mebibyte in the same run; machines differ, ratios less so.
Bodies marked "genuine" are validly signed: only Karla, or a customer through Karla, can send them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import repeat

from benchmarks.deliveries import FORGED, SECRET, body_of, hash_floor
from benchmarks.memory import peak_bytes
from karla_receiver import Receiver, Request, sign

MEBIBYTE = 1_048_576
ROUNDS = 7


def filled(start: bytes, item: bytes, end: bytes) -> bytes:
    """Return a body of nearly a mebibyte: start, as many items as fit, and end."""
    count = (MEBIBYTE - len(start) - len(end)) // len(item)
    return start + item * count + end


def chunks() -> Iterator[bytes]:
    """Stream for ever."""
    return repeat(bytes(65_536))


LISTED = b'{"event_group":"x","a":['

MAKERS: dict[str, Callable[[], Request]] = {
    "forged, 1 MiB": lambda: Request("POST", {"Karla-Signature": FORGED}, bytes(MEBIBYTE)),
    "forged, 2 KiB": lambda: Request("POST", {"Karla-Signature": FORGED}, bytes(2048)),
    "header of 1 MB": lambda: Request("POST", {"Karla-Signature": "a" * 1_000_000}, b""),
    "header of a million commas": lambda: Request(
        "POST", {"Karla-Signature": FORGED.replace(",", "," * 1_000_000)}, b""
    ),
    "header of 10,000 v1": lambda: Request(
        "POST", {"Karla-Signature": FORGED + (",v1=" + "0" * 64) * 10_000}, b""
    ),
    "header of 16 v1, well-formed": lambda: Request(
        "POST", {"Karla-Signature": FORGED[:12] + (",v1=" + "0" * 64) * 16}, bytes(2048)
    ),
    "100 MB declared": lambda: Request("POST", {"Content-Length": "104857600"}, chunks()),
    "streamed without end": lambda: Request("POST", {"Karla-Signature": FORGED}, chunks()),
    "genuine: depth 100,000": lambda: genuine(b"[" * 100_000),
    "genuine: integer of 1 MB": lambda: genuine(filled(LISTED, b"1", b"]}")),
    "genuine: empty objects": lambda: genuine(filled(LISTED, b"{},", b"0]}")),
    "genuine: empty arrays, nested twice": lambda: genuine(filled(LISTED, b"[[]],", b"0]}")),
    "genuine: small integers": lambda: genuine(filled(LISTED, b"1,", b"0]}")),
    "genuine: escapes": lambda: genuine(filled(b'{"event_group":"', rb"\u0041", b'"}')),
    "genuine: keys": lambda: genuine(
        b'{"event_group":"x"' + b"".join(b',"%06d":0' % key for key in range(80_000)) + b"}"
    ),
    "genuine: products that do not fit": lambda: genuine(
        filled(
            b'{"event_group":"x","source":"shipments","event_data":{"shipment_id":"1"},'
            b'"context":{"order":{"products":[',
            b'{"sku":1},',
            b"{}]}}}",
        )
    ),
}


def genuine(body: bytes) -> Request:
    """Sign a body."""
    return Request("POST", {"Karla-Signature": sign(body, SECRET)}, body)


def milliseconds(work: Callable[[], object]) -> float:
    """Return the shortest time of several rounds."""
    times: list[float] = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times) * 1000


def main() -> None:
    """Print the table."""
    logging.disable()
    receiver = Receiver(SECRET)
    floor = milliseconds(hash_floor(body_of(MEBIBYTE)))
    print(f"one HMAC-SHA256 of 1 MiB: {floor:.3f} ms\n")
    print(f"{'input':38} {'answer':22} {'ms':>9} {'hashes':>8} {'peak KiB':>9}")
    for name, make in MAKERS.items():
        request = make()
        reason = receiver.receive(request).reason or "200"
        work = partial(receiver.receive, request)
        spent, peak = milliseconds(work), peak_bytes(work) / 1024
        print(f"{name:38} {reason:22} {spent:9.3f} {spent / floor:8.2f} {peak:9.0f}")


if __name__ == "__main__":
    main()
