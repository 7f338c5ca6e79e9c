"""A secret is seen nowhere: a canary looked for wherever a program shows its values."""

from __future__ import annotations

import copy
import logging
import pickle
import pprint
import traceback
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from flask import Flask
from werkzeug.debug import DebuggedApplication
from werkzeug.test import Client

from karla_receiver import (
    ConfigurationError,
    KarlaReceiverError,
    Receiver,
    Request,
    SignatureError,
    Verifier,
    sign,
)
from karla_receiver.adapters.asgi import KarlaApp as ASGIApp
from karla_receiver.adapters.flask import Karla, webhook
from karla_receiver.adapters.wsgi import KarlaApp as WSGIApp
from karla_receiver.adapters.wsgi import KarlaMiddleware
from karla_receiver.explain import explain
from karla_receiver.signature.keys import Key
from karla_receiver.views.paths import DEFAULT_PATH
from tests.signing import BODY, NOW, signature_header, signed

# In two parts, so that no line of this file that a traceback quotes holds it.
CANARY = "canary-" + "5f0c9f1f6a10"


def configured(**config: Any) -> Flask:
    app = Flask("shop")
    app.config.update(config)
    return app


HOLDERS: dict[str, Callable[[], Any]] = {
    "verifier": lambda: Verifier(CANARY, b"other"),
    "receiver": lambda: Receiver(CANARY),
    "key": lambda: Key(CANARY.encode()),
    "asgi app": lambda: ASGIApp(Receiver(CANARY)),
    "wsgi app": lambda: WSGIApp(Receiver(CANARY)),
    "flask view": lambda: webhook(CANARY)(lambda event: None),
    "flask extension": lambda: Karla(configured(KARLA_WEBHOOK_SECRET=CANARY)),
}


def shown(value: Any) -> str:
    """Return a value as every usual way to look at it shows it."""
    texts = [repr(value), str(value), format(value), ascii(value), pprint.pformat(value)]
    names = set(dir(value)) - {"__globals__", "__builtins__"}
    texts += [repr(getattr(value, name, None)) for name in names]
    for show in (pickle.dumps, copy.deepcopy, msgspec.to_builtins, vars):
        try:
            texts.append(repr(show(value)))
        except Exception as error:  # noqa: BLE001 - what it says is looked at all the same
            texts.append(repr(error))
    return "\n".join(texts)


@pytest.mark.parametrize("make", HOLDERS.values(), ids=HOLDERS)
def test_nothing_that_was_given_a_secret_shows_it(make: Callable[[], Any]) -> None:
    holder = make()
    parts = [holder, *(getattr(holder, name, None) for name in ("_verifier", "_keys", "_receiver"))]
    closure = getattr(holder, "__closure__", None) or ()
    for part in [*parts, *(cell.cell_contents for cell in closure)]:
        assert CANARY not in shown(part)


def report_with_locals(error: BaseException, skip: int) -> str:
    """Format an error as reporting tools do, with the local variables of each frame of ours."""
    report = traceback.TracebackException.from_exception(error, capture_locals=True)
    assert len(report.stack) > skip, "the error was raised by the test itself"
    report.stack = traceback.StackSummary.from_list(report.stack[skip:])
    return "".join(report.format())


MISUSES: dict[str, Callable[[], Any]] = {
    "a good secret beside a bad one": lambda: Verifier(CANARY, ""),
    "a newline at the end": lambda: Verifier(CANARY + "\n"),
    "not UTF-8": lambda: Verifier(CANARY + "\udc80"),
    "bytes with a blank": lambda: Receiver(CANARY.encode() + b" "),
    "a list": lambda: Receiver([CANARY]),  # type: ignore[arg-type]
    "a bad option": lambda: Receiver(CANARY, tolerance=-1),
    "a bad limit": lambda: Receiver(CANARY, max_body_bytes=0),
    "the environment, several": lambda: Receiver.from_env({"KARLA_WEBHOOK_SECRETS": f"{CANARY},"}),
    "the environment, both": lambda: Receiver.from_env(
        {"KARLA_WEBHOOK_SECRETS": CANARY, "KARLA_WEBHOOK_SECRET": CANARY}
    ),
    "the environment, an option": lambda: Receiver.from_env(
        {"KARLA_WEBHOOK_SECRET": CANARY}, tolerance=-1
    ),
    "sign": lambda: sign(b"", CANARY + " "),
    "sign without bytes": lambda: sign("", CANARY),  # type: ignore[arg-type]
    "sign with a bad timestamp": lambda: sign(b"", CANARY, timestamp=-1),
    "flask": lambda: webhook(CANARY, ""),
    "flask, mixed": lambda: webhook(CANARY, Receiver("other")),
    "app.config": lambda: Karla(configured(KARLA_WEBHOOK_SECRET=f"{CANARY} ")),
    "app.config, several": lambda: Karla(configured(KARLA_WEBHOOK_SECRETS=f"{CANARY},")),
    "app.config, both": lambda: Karla(
        configured(KARLA_WEBHOOK_SECRET=CANARY, KARLA_WEBHOOK_SECRETS=[CANARY])
    ),
    "app.config, none": lambda: (
        Karla()
        .init_app(configured(KARLA_WEBHOOK_SECRET=None, OTHER=CANARY))
        .receive(Request("POST", {}, b""))
    ),
    "explain": lambda: explain(b"", None, CANARY, ""),
    "explain, others": lambda: explain(b"", None, CANARY, others={"old": CANARY, "new": ""}),
    "explain, not UTF-8": lambda: explain(b"", None, CANARY + "\udc80"),
    "explain without bytes": lambda: explain("", None, CANARY),  # type: ignore[arg-type]
    "explain, a bad tolerance": lambda: explain(b"", None, CANARY, tolerance=-1),
    "explain, a bad header": lambda: explain(b"", [5], CANARY),  # type: ignore[list-item]
    "replacement": lambda: Receiver("other").replace_secrets(CANARY, ""),
}


@pytest.mark.parametrize("misuse", MISUSES.values(), ids=MISUSES)
def test_no_error_shows_a_secret_even_with_the_local_variables_of_our_frames(
    misuse: Callable[[], Any],
) -> None:
    with pytest.raises((ConfigurationError, TypeError)) as refusal:
        misuse()
    # The test's own two frames hold it, as a user's may; ours must not.
    report = report_with_locals(refusal.value, skip=2)
    assert "karla_receiver" in report
    assert CANARY not in report


def test_the_canary_would_be_found() -> None:
    def careless(secret: str) -> None:
        raise ConfigurationError("careless")

    with pytest.raises(ConfigurationError) as refusal:
        careless(CANARY)
    assert CANARY in report_with_locals(refusal.value, skip=1)


def forged_header() -> str:
    genuine = sign(BODY, CANARY, timestamp=1_700_000_000)
    return genuine[:-1] + ("0" if genuine[-1] != "0" else "1")


# The header as one line, and as the lines that a server may hand on.
WAYS: list[Callable[[str], Any]] = [str, lambda header: [header]]


@pytest.mark.parametrize("given", WAYS, ids=["text", "list"])
@pytest.mark.parametrize("now", [1_600_000_000, 1_800_000_000])
def test_an_error_of_a_late_or_early_delivery_does_not_say_which_of_its_digests_is_right(
    given: Callable[[str], Any], now: int
) -> None:
    header = sign(BODY, CANARY, timestamp=1_700_000_000)
    with pytest.raises(SignatureError) as refusal:
        Verifier(CANARY, clock=lambda: now).verify(BODY, given(header))
    report = report_with_locals(refusal.value, skip=1)

    assert f"expected = {bytes.fromhex(header[-64:])!r}" not in report
    assert CANARY not in report


@pytest.mark.parametrize("given", WAYS, ids=["text", "list"])
def test_neither_logs_nor_errors_of_a_refusal_show_secret_or_expected_digest(
    caplog: pytest.LogCaptureFixture, given: Callable[[str], Any]
) -> None:
    caplog.set_level(logging.DEBUG, logger="")
    receiver = Receiver(CANARY, clock=lambda: 1_700_000_000)
    header = forged_header()
    expected = sign(BODY, CANARY, timestamp=1_700_000_000)[-64:]

    @receiver.on("*")
    def broken(event: object) -> None:
        raise LookupError

    answers = [
        receiver.receive(Request("POST", {"Karla-Signature": header}, BODY)),
        receiver.receive(signed(secret=CANARY, timestamp=NOW)),
    ]
    with pytest.raises(KarlaReceiverError) as refusal:
        Verifier(CANARY, clock=lambda: 1_700_000_000).verify(BODY, given(header))
    report = report_with_locals(refusal.value, skip=1)

    assert [answer.status for answer in answers] == [401, 500]
    for text in (caplog.text, repr(answers), str(refusal.value)):
        assert CANARY not in text
        assert expected not in text
    for digest in (expected, repr(bytes.fromhex(expected))):
        assert digest not in report
    assert CANARY not in report


def test_flasks_debug_page_shows_no_secret() -> None:
    app = Flask("shop")
    app.debug = True

    @app.post(DEFAULT_PATH)
    def forwarded_to() -> str:
        raise LookupError

    @app.get("/broken")
    def broken() -> str:
        return str(webhook(CANARY, ""))

    forwarding = KarlaMiddleware(app, Receiver(CANARY), DEFAULT_PATH, forward=True)
    debugged = Client(DebuggedApplication(forwarding, evalex=False))
    headers = signature_header(secret=CANARY)
    answer = debugged.post(DEFAULT_PATH, data=BODY, headers=headers)
    assert answer.status_code == 500
    assert CANARY not in answer.text
    page = debugged.get("/broken").text
    assert "ConfigurationError" in page
    assert CANARY not in page


def test_events_do_not_carry_how_they_were_signed() -> None:
    receiver = Receiver(CANARY)
    events: list[object] = []
    receiver.on("*")(events.append)
    header = sign(BODY, CANARY)
    receiver.receive(Request("POST", {"Karla-Signature": header}, BODY))

    assert header[-64:] not in shown(events[0])
