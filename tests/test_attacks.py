"""The table of attacks, through every door: same verdict, same reason, same status."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from typing import Any

import pytest
from flask import Flask, request

from karla_receiver import ConfigurationError, Event, Reason, Receiver, SignatureError, Verifier
from karla_receiver.adapters.asgi import KarlaApp
from karla_receiver.adapters.flask import webhook
from tests.attack_table import Case, load_cases
from tests.doors import (
    Answer,
    Knock,
    asgi_scope,
    run_asgi,
    through_core_async,
)
from tests.frameworks.chosen import DOORS, FRAMEWORKS
from tests.frameworks.flask import through_flask

CORE = load_cases("core")
ADAPTER = load_cases("adapter")
CONFIGURATION = [case for case in CORE if case.expect["reason"] == "config_error"]
VECTORS = "HMAC-067"  # stands for the vectors, which test_keys.py runs


def knock_of(case: Case) -> Knock:
    sent = case.delivery
    return Knock(method=sent.method, headers=list(sent.headers), body=sent.body, query=sent.query)


def receiver_of(case: Case, handler: Callable[[Event], object]) -> Receiver:
    receiver = Receiver(*case.secrets, clock=lambda: case.now)  # type: ignore[arg-type]
    receiver.on("*")(handler)
    return receiver


def check(case: Case, answer: Answer, calls: int) -> None:
    assert answer.status in case.statuses
    if answer.status == case.expect["status"]:
        assert answer.reason == case.expect["reason"]
    assert calls == case.expect.get("handler_calls", int(case.expect["accept"]))
    for name, value in case.expect.get("headers", {}).items():
        assert answer.headers[name] == value


def run(case: Case, door: Callable[[Receiver, Knock], Answer], knock: Knock) -> None:
    events: list[Event] = []
    answer = door(receiver_of(case, events.append), knock)
    check(case, answer, len(events))


def at_every_door(cases: list[Case], doors: Iterable[str] = DOORS) -> pytest.MarkDecorator:
    """Parametrise by case and door: all at the core, and a case for each reason elsewhere.

    The rest is slow.
    """
    of_reason = {case.expect["reason"]: case.id for case in reversed(cases)}
    return pytest.mark.parametrize(
        ("case", "door"),
        [
            pytest.param(
                case,
                door,
                id=f"{case}-{door}",
                marks=[] if door == "core" or case.id in of_reason.values() else pytest.mark.slow,
            )
            for case in cases
            for door in doors
        ],
    )


# What the framework of a door does not let in: case by case, so that what it begins to let in is
# noticed.
NOT_LET_IN = {
    door: framework.not_let_in for framework in FRAMEWORKS.values() for door in framework.doors
}
JOINING = ["asgi", *(door for each in FRAMEWORKS.values() for door in each.joins_messages)]
BY_LENGTH_DOORS = ["wsgi", *(door for each in FRAMEWORKS.values() for door in each.reads_by_length)]


@at_every_door([case for case in CORE if case not in CONFIGURATION and case.id != VECTORS])
def test_every_door_gives_the_documented_answer_to_a_delivery(case: Case, door: str) -> None:
    if case.id in NOT_LET_IN.get(door, ()):
        with pytest.raises(ValueError, match="newline"):
            DOORS[door](receiver_of(case, lambda event: pytest.fail("let in")), knock_of(case))
    else:
        run(case, DOORS[door], knock_of(case))


@pytest.mark.parametrize("make", [Receiver, Verifier, webhook])
@pytest.mark.parametrize("case", CONFIGURATION, ids=str)
def test_an_unusable_secret_is_refused_before_anything_is_served(
    case: Case, make: Callable[..., object]
) -> None:
    with pytest.raises(ConfigurationError):
        make(*case.secrets)


# --- the adapter cases ---------------------------------------------------------------------------

BY_HANDLER = [case for case in ADAPTER if "handler" in case.http]
BY_MESSAGES = [case for case in ADAPTER if "asgi_messages" in case.http]
BY_SCOPE = [case for case in ADAPTER if "scope" in case.http]
BY_LENGTH = [
    case
    for case in ADAPTER
    if {"content_length", "wsgi_read", "input_terminated"} & case.http.keys()
]
BY_FLASK = [case for case in ADAPTER if "flask" in case.http]
PLAIN = [
    case
    for case in ADAPTER
    if case not in [*BY_HANDLER, *BY_MESSAGES, *BY_SCOPE, *BY_LENGTH, *BY_FLASK]
]


@at_every_door(PLAIN)
def test_every_door_gives_the_documented_answer_to_a_request(case: Case, door: str) -> None:
    run(case, DOORS[door], knock_of(case))


HANDLER_ERRORS: dict[str, type[BaseException]] = {
    "raise SystemExit": SystemExit,
    "raise CancelledError": asyncio.CancelledError,
    "raise SignatureError": SignatureError,
    "raise MemoryError": MemoryError,
}


@pytest.mark.parametrize("is_async", [False, True], ids=["sync handler", "async handler"])
@at_every_door(
    [case for case in BY_HANDLER if case.http["handler"] in HANDLER_ERRORS], [*DOORS, "core async"]
)
def test_an_error_in_a_handler_is_never_success_nor_a_refusal_of_ours(
    case: Case, is_async: bool, door: str
) -> None:
    error = HANDLER_ERRORS[case.http["handler"]]
    calls: list[Event] = []

    def handler(event: Event) -> None:
        calls.append(event)
        raise SignatureError(Reason.NO_V1) if error is SignatureError else error

    async def async_handler(event: Event) -> None:
        handler(event)

    receiver = receiver_of(case, async_handler if is_async else handler)
    knock_at = DOORS.get(door, through_core_async)
    if issubclass(error, Exception):
        check(case, knock_at(receiver, knock_of(case)), len(calls))
    else:
        # Passed through to the server, which answers by itself or stops.
        assert None in case.statuses
        with contextlib.suppress(error):
            assert knock_at(receiver, knock_of(case)).status in case.statuses
        # A task that nobody awaited logs its error when it is collected. Python 3.11 fails with
        # a SystemError if that happens while another test compiles source (gh-106905).
        gc.collect()
        assert len(calls) == case.expect["handler_calls"]


@at_every_door([case for case in BY_HANDLER if case.http["handler"] not in HANDLER_ERRORS])
def test_an_async_handler_runs_to_its_end_at_every_door(case: Case, door: str) -> None:
    assert case.http["handler"] == "async def under WSGI"
    finished: list[Event] = []

    async def handler(event: Event) -> None:
        await asyncio.sleep(0)
        finished.append(event)

    answer = DOORS[door](receiver_of(case, handler), knock_of(case))
    check(case, answer, len(finished))


def messages_of(case: Case) -> Iterator[dict[str, Any]]:
    spec: Any = case.http["asgi_messages"]
    if spec == "endless 64 KiB chunks":
        # 64 MiB: an adapter that reads it all is to fail, and not to take all memory.
        yield from repeat({"type": "http.request", "body": b"a" * 65_536, "more_body": True}, 1024)
        return
    half = len(case.body) // 2
    bodies = {"": b"", "<first half>": case.body[:half], "<second half>": case.body[half:]}
    for place, item in enumerate(spec, 1):
        if item == "http.disconnect":
            yield {"type": item}
        elif item == {}:
            yield {"type": "http.request"}
        else:
            body = bodies[item]
            yield {"type": "http.request", "body": body, "more_body": place < len(spec)}


@pytest.mark.parametrize("door", JOINING)
@pytest.mark.parametrize("case", BY_MESSAGES, ids=str)
def test_asgi_bodies_are_joined_cut_off_or_given_up_as_documented(
    case: Case, door: str, caplog: pytest.LogCaptureFixture
) -> None:
    knock = knock_of(case)
    knock.messages = messages_of(case)
    run(case, DOORS[door], knock)
    if case.expect["reason"] == "client_disconnected":
        assert all(record.levelno < logging.WARNING for record in caplog.records)


@pytest.mark.parametrize("case", BY_SCOPE, ids=str)
def test_the_asgi_app_answers_other_scopes_as_asgi_says(case: Case) -> None:
    app = KarlaApp(receiver_of(case, lambda event: None))
    kind = case.http["scope"]
    messages = {
        "websocket": ["websocket.connect"],
        "lifespan": ["lifespan.startup", "lifespan.shutdown"],
    }
    scope = {**asgi_scope(Knock()), "type": kind}
    sent = run_asgi(app, scope, iter([{"type": name} for name in messages[kind]]))

    assert None in case.statuses
    assert [message["type"] for message in sent] == {
        "websocket": ["websocket.close"],
        "lifespan": ["lifespan.startup.complete", "lifespan.shutdown.complete"],
    }[kind]


@pytest.mark.parametrize("door", BY_LENGTH_DOORS)
@pytest.mark.parametrize("case", BY_LENGTH, ids=str)
def test_wsgi_bodies_are_read_by_their_length_and_never_beyond(case: Case, door: str) -> None:
    knock = knock_of(case)
    length = case.http.get("content_length", "as it is")
    if length == "+10 bytes":
        length = str(len(case.body) + 10)
    if length != "as it is":
        knock.environ["CONTENT_LENGTH"] = length
    if "input_terminated" in case.http:
        knock.environ["wsgi.input_terminated"] = case.http["input_terminated"]
    if "wsgi_read" in case.http:
        assert case.http["wsgi_read"] == "7 bytes at a time"
        knock.read_at_most = 7
    run(case, DOORS[door], knock)


@at_every_door(
    [
        case
        for case in BY_LENGTH
        if case.expect["reason"] in {"bad_content_length", "body_too_large"}
    ],
    sorted(DOORS.keys() - {*BY_LENGTH_DOORS}),
)
def test_a_declared_length_is_judged_alike_at_the_other_doors(case: Case, door: str) -> None:
    knock = knock_of(case)
    knock.headers.append(("content-length", case.http["content_length"]))
    run(case, DOORS[door], knock)


@pytest.mark.parametrize("case", BY_FLASK, ids=str)
def test_flask_receives_whatever_ran_before_or_says_what_took_the_body(
    case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    knock = knock_of(case)
    knock.headers.append(("Content-Type", case.http["flask"].rpartition(" ")[2]))

    def read_the_form_first(app: Flask) -> None:
        @app.before_request
        def touch() -> None:
            assert not request.form.get("nothing")

    events: list[Event] = []
    answer = through_flask(receiver_of(case, events.append), knock, read_the_form_first)
    check(case, answer, len(events))
    assert ("consumed before @webhook" in caplog.text) == (not case.expect["accept"])


def test_every_adapter_case_is_run() -> None:
    groups = [PLAIN, BY_HANDLER, BY_MESSAGES, BY_SCOPE, BY_LENGTH, BY_FLASK]
    assert sum(map(len, groups)) == len(ADAPTER)


def test_all_401_answers_are_the_same_bytes() -> None:
    refused = [case for case in CORE if case.expect["status"] == 401 and case.id != VECTORS]
    answers = {
        (answer.body, tuple(answer.headers.items()))
        for case in refused
        for answer in [DOORS["core"](receiver_of(case, print), knock_of(case))]
    }
    assert len(answers) == 1
    assert not any(str(reason).encode() in body for body, _ in answers for reason in Reason)
