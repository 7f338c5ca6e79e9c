"""The table of attacks on sockets: what each real server makes of it, byte for byte."""

from __future__ import annotations

from collections import Counter

import pytest

from karla_receiver import Reason
from karla_receiver.request import REFUSALS, SUCCESS
from tests.attack_table import Case, load_cases
from tests.servers.cases import NOT_SENT, SENT, Outcome, expected, script_of
from tests.servers.differences import DIFFERENCES, EVERY, acceptable
from tests.servers.journal import Entry
from tests.servers.launching import Server
from tests.servers.live import ALIVE
from tests.servers.wire import Answer, exchange

pytestmark = pytest.mark.slow

OUR_TYPES = {SUCCESS.headers[0][1], REFUSALS[Reason.NO_V1].headers[0][1]}

# How often each case has called a handler so far, on the server that runs.
calls_seen: Counter[tuple[str, str]] = Counter()


def is_ours(answer: Answer) -> bool:
    return answer.headers.get("content-type") in OUR_TYPES


def outcome_of(answers: list[Answer], entries: list[Entry]) -> Outcome:
    return Outcome(
        tuple(
            str(answer.status) if is_ours(answer) else f"server's {answer.status}"
            for answer in answers
        ),
        tuple(entry.detail for entry in entries if entry.kind == "refused"),
        sum(entry.kind == "called" for entry in entries),
    )


def check_answer(case: Case, answer: Answer, reasons: tuple[str, ...]) -> None:
    """Ours is one of the answers made once, to the byte; the server's own tells nothing of ours."""
    if not is_ours(answer):
        assert not any(reason.encode() in answer.body for reason in Reason)
        return
    made = [SUCCESS] if answer.status == 200 else [REFUSALS[Reason(reason)] for reason in reasons]
    made = [response for response in made if response.status == answer.status]
    bodies = {b"" if case.http.get("method") == "HEAD" else response.body for response in made}
    assert answer.body in bodies
    if answer.status == 401:
        assert not any(reason.encode() in answer.body for reason in Reason)
    if str(answer.status) == str(case.expect["status"]):
        for name, value in case.expect.get("headers", {}).items():
            assert answer.headers[name.lower()] == value


@pytest.mark.parametrize("case", SENT, ids=str)
def test_a_server_answers_an_attack_as_documented_and_lives_on(server: Server, case: Case) -> None:
    start = server.journal.size()
    answers = exchange(server.port, script_of(case), case.http.get("method", "POST"))
    served_next = server.deliver()

    outcome = outcome_of(answers, server.journal.since(start, case.id))
    calls_seen[server.kind.name, case.id] += outcome.calls
    assert outcome in acceptable(server.kind.name, case)
    for answer in answers:
        check_answer(case, answer, outcome.reasons)
    # Alive: the same process hands the next delivery to its handler.
    assert (served_next.status, served_next.body) == (200, SUCCESS.body)
    alive = server.journal.since(start, ALIVE)
    assert [(entry.kind, entry.process) for entry in alive] == [
        ("called", server.started["process"])
    ]


def test_no_handler_was_called_late(server: Server) -> None:
    entries = server.journal.since(0)
    called = Counter(entry.case for entry in entries if entry.kind == "called")
    for case in SENT:
        assert called[case.id] == calls_seen[server.kind.name, case.id], case.id


def test_every_case_is_sent_or_named() -> None:
    cases = [case for layer in ("core", "adapter", "server") for case in load_cases(layer)]
    unsent = {case.id for case in cases if case not in SENT}
    refused_at_start = {case.id for case in cases if case.expect["reason"] == "config_error"}
    assert unsent == refused_at_start | NOT_SENT.keys()


def test_differences_are_named_once_needed_and_never_let_more_through() -> None:
    cases = {case.id: case for case in SENT}
    listed = Counter(
        (server, name)
        for difference in DIFFERENCES
        for server in difference.servers
        for name in difference.cases
    )
    assert not [place for place, count in listed.items() if count > 1]
    assert {server for server, _ in listed} <= set(EVERY)
    for difference in DIFFERENCES:
        assert difference.servers, difference
        for case in map(cases.__getitem__, difference.cases):
            assert difference.outcomes != [expected(case)], (case.id, difference)
            assert expected(case) not in difference.or_else, (case.id, difference)
            for outcome in difference.outcomes:
                # Taken where the table refuses: only where the table names 200 too.
                assert outcome.calls <= expected(case).calls or 200 in case.statuses, case.id
