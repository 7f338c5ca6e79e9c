"""The attacks as bytes on a socket, and what each must come to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from tests.attack_table import Case, load_cases
from tests.servers.wire import Answered, HalfClose, Leave, Part, Pause, chunked, head

END = b"0\r\n\r\n"  # of a chunked body
MUCH = 64 << 20

# Not on the wire, each for a reason. Everything else in the table is sent to every server.
NOT_SENT = {
    "HMAC-067": "stands for the vectors, which are run on the core",
    "HTTP-027": "how ASGI cuts a body into messages is the server's own affair",
    "HTTP-028": "no server sends a message without a body",
    "HTTP-029": "in ASGI's words what HTTP-035 is on the wire",
    "HTTP-032": "a websocket is no delivery; run on the adapter",
    "HTTP-033": "the lifespan is no request; run on the adapter",
    "HTTP-037": "how wsgi.input is read is the server's own affair",
    "HTTP-048": "needs a Flask app of its own; run on the adapter",
    "HTTP-049": "needs a Flask app of its own; run on the adapter",
    "HTTP-064": "ends the server, as it should; run on the adapter",
    "HTTP-065": "cancels what the server runs; run on the adapter",
}

SENT = [
    case
    for layer in ("core", "adapter", "server")
    for case in load_cases(layer)
    if case.id not in NOT_SENT and case.expect["reason"] != "config_error"
]


@dataclass(frozen=True)
class Outcome:
    """What a request came to.

    answers: in order: "200" or "401" is ours, "server's 400" one that the server made itself.
    reasons: of the refusals that the app logged.
    """

    answers: tuple[str, ...]
    reasons: tuple[str, ...] = ()
    calls: int = 0


def expected(case: Case) -> Outcome:
    """Return what the table says, as far as it is the same on every server."""
    status, reason = case.expect["status"], case.expect["reason"]
    calls = case.expect.get("handler_calls", int(case.expect["accept"]))
    if case.http.get("pipeline") == ["bad", "good"]:
        return Outcome(("401", "200"), ("signature_mismatch",), 1)
    if reason == "bad_request":
        return Outcome(("server's 400",))
    if case.http.get("procedure") == "slow headers":
        return Outcome(())  # the app never hears of it
    answers = () if status is None else (str(status),) * case.http.get("pipeline", 1)
    if "Expect" in case.http.get("headers", {}):
        answers = ("server's 100", *answers)
    return Outcome(answers, () if reason is None else (reason,), calls)


def script_of(case: Case) -> Iterator[Part]:
    """Return what to send, and when. The client closes its half when it has its answers."""
    http = case.http
    kind = http.get("raw") or http.get("transfer") or http.get("procedure")
    if kind is not None:
        yield from _SPECIAL[kind](case)
    elif "pipeline" in http:
        yield _pipelined(case)
        yield Answered(2)
    elif "asgi_messages" in http:
        yield from _endless(case)
    elif "Expect" in http.get("headers", {}):
        whole = request(case)
        start = len(whole) - len(case.body)
        yield whole[:start]
        yield Answered(1)
        yield whole[start:]
        yield Answered(2)
    elif "content_length" in http:
        yield from _with_length(case, http["content_length"])
    else:
        yield request(case)
        yield Answered(1)
    yield HalfClose()


def request(
    case: Case,
    *,
    length: str | None = None,
    extra: tuple[tuple[str, str], ...] = (),
    framing: bytes | None = None,
    keep_alive: bool = False,
    version: str = "1.1",
) -> bytes:
    """Return one whole request. framing: the body as sent, with no length declared for it."""
    headers = [] if version == "1.0" else [("Host", "localhost")]
    name = case.http.get("header_name", "Karla-Signature")
    headers += [(name, line) for line in case.header_lines]
    headers += list(case.http.get("headers", {}).items())
    if framing is None:
        headers.append(("Content-Length", length or str(len(case.body))))
    headers += extra
    if not keep_alive:
        headers.append(("Connection", "close"))
    method = case.http.get("method", "POST")
    query = case.http.get("query", "")
    start = head(case.id, headers, method=method, query=query, version=version)
    return start + (case.body if framing is None else framing)


def _pipelined(case: Case) -> bytes:
    first, last = request(case, keep_alive=True), request(case)
    if case.http["pipeline"] == ["bad", "good"]:
        (line,) = case.header_lines
        forged = line[:-1] + ("0" if line[-1] != "0" else "1")
        first = first.replace(line.encode(), forged.encode())
    return first + last


def _with_length(case: Case, length: str | None) -> Iterator[Part]:
    if length is None and case.http["input_terminated"]:
        yield _chunked_request(case, len(case.body))
        yield Answered(1)
    elif length is None:
        yield request(case, framing=case.body)
        yield Answered(1)
    elif length == "+10 bytes":
        yield request(case, length=str(len(case.body) + 10))  # and leave it at that
    elif length == "-5 bytes":
        # Kept alive, so that the rest is there to be taken for the next request.
        yield request(case, length=str(len(case.body) - 5), keep_alive=True)
        yield Answered(1)
    else:
        yield request(case, length=length)
        yield Answered(1)


def _chunked_request(case: Case, size: int) -> bytes:
    framing = chunked(case.body, size)
    return request(case, extra=(("Transfer-Encoding", "chunked"),), framing=framing)


def _chunks(case: Case) -> Iterator[Part]:
    yield _chunked_request(case, case.http["chunk"])
    yield Answered(1)


def _endless(case: Case) -> Iterator[Part]:
    chunk, end = chunked(bytes(65_536), 65_536).removesuffix(END), _chunked_request(case, 65_536)
    yield end.removesuffix(END)
    yield from repeat(chunk, MUCH // len(chunk))  # as much as it takes, and then no end
    yield Answered(1)


def _slow_headers(case: Case) -> Iterator[Part]:
    for byte in request(case)[:5]:
        yield bytes([byte])
        yield Pause(0.1)
    yield Leave()


def _both_lengths(case: Case) -> Iterator[Part]:
    # Whoever believes this length takes the rest of the body for a second request.
    extra = (("Content-Length", "4"), ("Transfer-Encoding", "chunked"))
    yield request(case, extra=extra, framing=chunked(case.body, 64))
    yield Answered(1)


def _two_lengths(case: Case) -> Iterator[Part]:
    yield request(case, extra=(("Content-Length", str(len(case.body) - 5)),))
    yield Answered(1)


def _old_version(case: Case) -> Iterator[Part]:
    yield request(case, version="1.0", keep_alive=True)
    yield Answered(1)


def _beside_an_underscore(case: Case) -> Iterator[Part]:
    forged = ",".join(["t=1", "v1=" + "0" * 64])
    yield request(case, extra=(("Karla_Signature", forged),))
    yield Answered(1)


_SPECIAL: dict[str, Any] = {
    "chunked": _chunks,
    "slow headers": _slow_headers,
    "CL+TE": _both_lengths,
    "CL,CL": _two_lengths,
    "HTTP/1.0": _old_version,
    "underscore beside": _beside_an_underscore,
}
