"""What a request holds at its worst moment, and whether anything stays behind."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Callable
from io import BytesIO

import msgspec

from benchmarks.deliveries import BODY, FORGED, SECRET, body_of, request
from benchmarks.tables import Table, figure
from karla_receiver import Receiver, sign
from karla_receiver.adapters.wsgi import KarlaApp

__all__ = ["memory", "peak_bytes"]

_SMALL, _LARGE = 65_536, 1_048_576
_REQUESTS = 100_000


def memory(rounds: int) -> Table:
    """Compare the peak with the body, and what is allocated before and after many requests."""
    receiver = Receiver(SECRET)
    count = min(_REQUESTS, rounds * 200)
    forged = _per_byte(lambda body: _peak(receiver, body, FORGED))
    genuine = _per_byte(lambda body: _peak(receiver, body, sign(body, SECRET)))
    decoded = _per_byte(_decoded)
    blocks = _left(receiver, count)  # a leak is one or more of a request, caches are a few of all
    return Table(
        "memory",
        "Memory of a request, in process",
        (
            figure(1.01, "peak for each byte of a forged body, read from the server", forged),
            figure(
                1.01,
                "peak for each byte of a genuine body, less what its JSON decodes to",
                genuine - decoded,
            ),
            figure(
                0.01, f"blocks that stay behind, for each of {count:,} requests", blocks / count
            ),
        ),
    )


def _per_byte(peak: Callable[[bytes], int]) -> float:
    # Between two sizes: so whatever is constant drops out.
    return (peak(body_of(_LARGE)) - peak(body_of(_SMALL))) / (_LARGE - _SMALL)


def peak_bytes(work: Callable[[], object]) -> int:
    """Return how much a call allocates at the worst moment, once caches are filled."""
    work()
    gc.collect()
    tracemalloc.start()
    kept = work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    del kept
    return peak


def _peak(receiver: Receiver, body: bytes, header: str) -> int:
    app = KarlaApp(receiver)
    # As a socket does: what is read exists only once it is read.
    stream = BytesIO(body)
    environ = {
        "REQUEST_METHOD": "POST",
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_KARLA_SIGNATURE": header,
        "wsgi.url_scheme": "https",
    }

    def receive() -> object:
        stream.seek(0)
        return app({**environ, "wsgi.input": _Reader(stream)}, lambda status, headers: None)

    return peak_bytes(receive)


class _Reader:
    """Hands out copies, which BytesIO does not when it is asked for everything."""

    def __init__(self, stream: BytesIO) -> None:
        self._stream = stream

    def read(self, size: int) -> bytes:
        return bytes(self._stream.getbuffer()[self._stream.tell() :][:size])


def _decoded(body: bytes) -> int:
    return peak_bytes(lambda: msgspec.json.decode(body))


def _left(receiver: Receiver, count: int) -> int:
    requests = [request(BODY, sign(BODY, SECRET)), request(BODY, FORGED), request(BODY, "nonsense")]

    def some(number: int) -> None:
        for _ in range(number):
            for each in requests:
                receiver.receive(each)

    some(1000)
    gc.collect()
    before = sys.getallocatedblocks()
    some(count // 3)
    gc.collect()
    return max(0, sys.getallocatedblocks() - before)
