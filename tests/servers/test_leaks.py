"""What senders who give up, or send the largest body allowed, leave behind in a server: nothing."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from karla_receiver.request import REFUSALS
from tests.attack_table import load_cases
from tests.servers.launching import Server, delivery
from tests.servers.live import ALIVE
from tests.servers.wire import exchange, head
from tests.signing import BODY
from tests.waiting import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="counts what /proc shows"),
]

ABORTED = 2000
AT_ONCE = 50
MEBIBYTE = 1_048_576
# What a server may open at its first request and keep: asyncio has at most 32 threads for handlers.
KEPT = {"descriptors": 8, "threads": 32, "tasks": 0}
SYSTEM = {case.id: case for case in load_cases("system")}


def abort(server: Server, first: int) -> None:
    """Start as many uploads at once, send each to a different point, and leave them all."""
    whole = delivery(ALIVE)
    start = len(whole) - len(BODY)
    with ExitStack() as connections:
        for place in range(first, first + AT_ONCE):
            connection = socket.create_connection(("127.0.0.1", server.port))
            connections.enter_context(connection)
            if place % 2:  # reset instead of an orderly end
                linger = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            connection.sendall(whole[: start + place % len(BODY)])


def test_thousands_of_aborted_uploads_leave_nothing_behind(
    server: Server, record_property: Callable[[str, object], None]
) -> None:
    assert SYSTEM["CONC-022"].expect["handler_calls"] == 0
    start, logged = server.journal.size(), server.log.stat().st_size

    for first in range(0, ABORTED, AT_ONCE):
        abort(server, first)

    def has_nothing_left() -> bool:
        now = server.control("state")
        return all(now[what] <= server.started[what] + kept for what, kept in KEPT.items())

    until(has_nothing_left, f"{server.kind.name} has no more than at its start: {server.started}")
    record_property("before", server.started)
    record_property("after", server.control("state"))
    assert server.control("state")["process"] == server.started["process"]
    entries = server.journal.since(start)
    assert {(entry.kind, entry.detail) for entry in entries} <= {
        ("refused", "client_disconnected"),
        ("refused", "body_incomplete"),
    }
    assert "Traceback" not in server.log.read_text()[logged:]
    assert server.deliver().status == 200


def test_forged_bodies_of_a_mebibyte_leave_no_memory_behind(
    server: Server, record_property: Callable[[str, object], None]
) -> None:
    case = SYSTEM["RESO-019"]
    reason = case.expect["reason"]
    (line,) = case.header_lines
    headers = [("Host", "localhost"), ("Karla-Signature", line)]
    headers += [("Content-Length", str(len(case.body))), ("Connection", "close")]
    forged = head(ALIVE, headers) + case.body

    def send(times: int) -> None:
        for _ in range(times):
            (answer,) = exchange(server.port, [forged])
            assert (answer.status, answer.body) == (401, REFUSALS[reason].body)

    send(50)
    before = server.control("state")["resident"]
    start = server.journal.size()
    send(1000)
    grown = server.control("state")["resident"] - before

    record_property("grown", grown)
    refusals = server.journal.since(start, ALIVE)
    assert [entry.detail for entry in refusals] == [reason] * 1000
    assert grown < 5 * MEBIBYTE
