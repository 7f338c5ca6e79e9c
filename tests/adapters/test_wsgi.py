from __future__ import annotations

import io
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from karla_receiver import ConfigurationError, Event, Reason, Receiver, SignatureError
from karla_receiver.adapters.wsgi import KarlaApp, KarlaMiddleware, require_event
from karla_receiver.outcomes import RetryLater
from karla_receiver.request import REFUSALS
from tests.doors import (
    PATH,
    asgi_not_found,
    logged_reasons,
    run_wsgi,
    signed_knock,
    wsgi_environ,
)
from tests.signing import BODY, SECRET


def receiver_into(events: list[Event]) -> Receiver:
    receiver = Receiver(SECRET)
    receiver.on("*")(events.append)
    return receiver


def environ_with(**changes: Any) -> dict[str, Any]:
    return {**wsgi_environ(signed_knock()), **changes}


class Recorder:
    """A legacy app: streams its answer, and keeps what it was given."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.bodies: list[bytes] = []
        self.closed = 0

    def __call__(self, environ: Any, start_response: Any) -> Any:
        self.calls.append((environ, start_response))
        if "karla.event" in environ:
            self.bodies.append(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH", -1))))
        start_response("299 Legacy", [("X-Legacy", "yes"), ("X-Legacy", "twice")])
        return self

    def __iter__(self) -> Iterator[bytes]:
        yield from (b"the ", b"app's")

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize(
    "changes",
    [
        {"PATH_INFO": "/"},
        {"PATH_INFO": PATH + "/"},
        {"PATH_INFO": "/" + PATH},
        {"PATH_INFO": "/webhooks//karla"},
        {"PATH_INFO": "/x" + PATH},
        {"RAW_URI": "/webhooks%2Fkarla"},
        {"REQUEST_URI": "/webhooks%2fkarla?x=y"},
    ],
)
def test_anything_else_goes_to_the_app_untouched(changes: dict[str, str]) -> None:
    app = Recorder()
    environ = environ_with(**changes)
    before = dict(environ)

    def start_response(*arguments: Any) -> None:
        """Take it."""

    answer = KarlaMiddleware(app, Receiver(SECRET))(environ, start_response)

    assert answer is app
    ((given, started),) = app.calls
    assert given is environ
    assert started is start_response
    assert environ == before
    assert environ["wsgi.input"].read(10) == BODY[:10]


@pytest.mark.parametrize(
    "changes",
    [
        {"SCRIPT_NAME": "/shop"},
        {"RAW_URI": PATH + "?next=%2F"},
        {"REQUEST_URI": PATH, "RAW_URI": ""},
    ],
)
def test_the_path_is_matched_below_wherever_the_app_is_mounted(changes: dict[str, str]) -> None:
    events: list[Event] = []
    app = KarlaMiddleware(Recorder(), receiver_into(events))

    assert run_wsgi(app, environ_with(**changes))[0] == 200
    assert len(events) == 1


def test_a_path_of_any_letters_can_be_chosen() -> None:
    app = KarlaMiddleware(Recorder(), Receiver(SECRET), path="/größe")
    path_info = "/größe".encode().decode("latin-1")

    assert run_wsgi(app, environ_with(PATH_INFO=path_info))[0] == 200


def test_the_app_alone_receives_at_every_path() -> None:
    events: list[Event] = []
    app = KarlaApp(receiver_into(events))
    status, headers, body = run_wsgi(app, environ_with(PATH_INFO="/anything"))

    assert (status, body) == (200, b'{"status":"success"}')
    assert headers == [("content-type", "application/json"), ("content-length", "20")]
    assert len(events) == 1


def test_a_verified_delivery_is_forwarded_with_its_event_and_its_body_unread() -> None:
    app = Recorder()
    middleware = KarlaMiddleware(app, Receiver(SECRET), PATH, forward=True)
    environ = environ_with()
    status, headers, body = run_wsgi(middleware, environ)

    assert environ["karla.event"].order_number == "NT-20417"
    assert app.bodies == [BODY]
    assert (status, body, app.closed) == (299, b"the app's", 1)
    assert headers == [("X-Legacy", "yes"), ("X-Legacy", "twice")]


def test_a_chunked_delivery_is_forwarded_whole() -> None:
    app = Recorder()
    environ = environ_with(**{"wsgi.input_terminated": True})
    del environ["CONTENT_LENGTH"]
    environ["wsgi.input"] = io.BytesIO(BODY)
    run_wsgi(KarlaMiddleware(app, Receiver(SECRET), PATH, forward=True), environ)

    assert app.bodies == [BODY]


@pytest.mark.parametrize(
    "changes",
    [
        {"PATH_INFO": PATH + "/x"},
        {"PATH_INFO": "/WEBHOOKS/\xff;karla"},
        {"PATH_INFO": "/karla", "SCRIPT_NAME": "/webhooks"},
        {"RAW_URI": "/webhooks%2Fkarla"},
    ],
)
def test_a_path_that_may_lead_to_the_view_is_verified(changes: dict[str, str]) -> None:
    app = Recorder()
    strict = KarlaMiddleware(app, Receiver("other-secret"), PATH, forward=True)
    assert run_wsgi(strict, environ_with(**changes))[0] == 401
    assert app.calls == []

    open_to = KarlaMiddleware(app, Receiver(SECRET), PATH, forward=True)
    assert run_wsgi(open_to, environ_with(**changes))[0] == 299
    assert "karla.event" in app.calls[0][0]


@pytest.mark.parametrize("path", ["/größe", "/GRÖSSE"])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_path_of_other_letters_is_known_in_both_encodings(path: str, encoding: str) -> None:
    app = KarlaMiddleware(Recorder(), Receiver("other-secret"), "/größe", forward=True)
    path_info = path.encode(encoding).decode("latin-1")
    assert run_wsgi(app, environ_with(PATH_INFO=path_info))[0] == 401


@pytest.mark.parametrize(
    ("path", "root"),
    [
        ("/", ""),
        ("/webhooks/carla", ""),
        ("/\udc80", ""),
        ("/\u20ac", ""),
        ("", ""),
        ("/tea", "/webhooks-karla"),
    ],
)
def test_other_paths_are_forwarded_untouched(path: str, root: str) -> None:
    app = Recorder()
    middleware = KarlaMiddleware(app, Receiver("other-secret"), PATH, forward=True)
    environ = environ_with(PATH_INFO=path, SCRIPT_NAME=root)
    before = dict(environ)
    run_wsgi(middleware, environ)
    assert app.calls[0][0] is environ
    assert environ == before


def guarded(environ: Any, start_response: Any) -> Any:
    """Answer 200 with an event, and what the guard's error says without one."""
    try:
        status = 200 if require_event(environ).event_group else 500
    except SignatureError as error:
        status = error.status or 500
    start_response(f"{status} Whatever", [])
    return []


def test_a_view_can_insist_on_its_event() -> None:
    assert run_wsgi(guarded, environ_with())[0] == 401
    app = KarlaMiddleware(guarded, Receiver(SECRET), PATH, forward=True)
    assert run_wsgi(app, environ_with())[0] == 200


def lazy(status: str) -> Any:
    """Make an app that runs only when its response is iterated."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response(status, [])
        yield b"one"
        yield b"two"

    return app


@pytest.mark.parametrize(
    ("status", "sent", "reasons"),
    [
        ("200 OK", 200, []),
        ("204 No Content", 204, []),
        ("302 Found", 302, ["handler_error"]),
        ("503 Service Unavailable", 503, ["handler_error"]),
        ("odd", 500, ["handler_error"]),
    ],
)
def test_an_app_that_runs_while_iterated_has_run_before_its_delivery_counts_as_handled(
    status: str, sent: int, reasons: list[str]
) -> None:
    app = KarlaMiddleware(lazy(status), Receiver(SECRET), PATH, forward=True)
    with logged_reasons() as logged:
        answer = run_wsgi(app, environ_with())
    assert (answer[0], logged) == (sent, reasons)
    assert (answer[2] == b"onetwo") is (status != "odd")


def eager(environ: Any, start_response: Any) -> Any:
    """Start the response at once, and do the work while it is iterated."""
    start_response("200 OK", [])

    def parts() -> Iterator[bytes]:
        yield b"one"
        raise ZeroDivisionError

    return parts()


def lazy_failing(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [])
    yield b"one"
    raise ZeroDivisionError


def failing_at_once(environ: Any, start_response: Any) -> Any:
    raise ZeroDivisionError


def failing_after_writing(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [])(b"written")
    raise ZeroDivisionError


class FailingOnClose(list[bytes]):
    """A body whose app does its work when it is closed."""

    def close(self) -> None:
        raise ZeroDivisionError


def failing_on_close(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [])
    return FailingOnClose([b"one"])


def answering_text(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [])
    return ["text"]


def starting_nothing(environ: Any, start_response: Any) -> Any:
    return []


@pytest.mark.parametrize(
    "app",
    [
        eager,
        lazy_failing,
        failing_at_once,
        failing_after_writing,
        failing_on_close,
        answering_text,
        starting_nothing,
    ],
)
def test_of_an_app_that_fails_nothing_is_sent(app: Any) -> None:
    started: list[Any] = []

    def start_response(*arguments: Any) -> Any:
        started.append(arguments[0])
        return pytest.fail  # as write(): there is nothing to be written

    middleware = KarlaMiddleware(app, Receiver(SECRET), PATH, forward=True)
    with logged_reasons() as logged:
        body = list(middleware(environ_with(), start_response))
    assert (started, logged) == (["500 Internal Server Error"], ["handler_error"])
    assert body == [REFUSALS[Reason.HANDLER_ERROR].body]


def test_an_answer_is_sent_when_the_app_has_returned_and_not_before() -> None:
    happened: list[str] = []

    def app(environ: Any, start_response: Any) -> Any:
        headers = [("X-Shop", "yes")]
        write = start_response("202 Accepted", headers)
        headers.clear()
        write(b"one")
        happened.append("written")
        yield b"two"
        happened.append("ended")

    def start_response(*arguments: Any) -> None:
        happened.append(f"started {arguments}")

    middleware = KarlaMiddleware(app, Receiver(SECRET), PATH, forward=True)
    body = middleware(environ_with(), start_response)
    assert b"".join(body) == b"onetwo"
    assert happened == ["written", "ended", "started ('202 Accepted', [('X-Shop', 'yes')])"]


def test_an_app_that_answers_anew_after_an_error_has_sent_nothing_of_the_first_answer() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("X-First", "yes")])(b"first")
        yield b"first"
        error = ZeroDivisionError()
        start_response("503 Service Unavailable", [], (type(error), error, None))
        yield b"second"

    middleware = KarlaMiddleware(app, Receiver(SECRET), PATH, forward=True)
    assert run_wsgi(middleware, environ_with()) == (503, [], b"second")


def test_a_refused_delivery_is_answered_and_never_forwarded() -> None:
    app = Recorder()
    middleware = KarlaMiddleware(app, Receiver("other-secret"), PATH, forward=True)

    assert run_wsgi(middleware, environ_with())[0] == 401
    assert app.calls == []


def test_an_answer_does_not_stand_if_what_is_around_the_app_fails_after_it() -> None:
    receiver = Receiver(SECRET)

    @receiver.around
    @contextmanager
    def around(event: Event) -> Generator[None]:
        yield
        raise ZeroDivisionError

    app = Recorder()
    middleware = KarlaMiddleware(app, receiver, PATH, forward=True)
    assert run_wsgi(middleware, environ_with())[0] == 500
    assert len(app.calls) == 1


def test_the_app_behind_can_ask_for_a_later_try() -> None:
    def busy(environ: Any, start_response: Any) -> Any:
        raise RetryLater(after=9)

    middleware = KarlaMiddleware(busy, Receiver(SECRET), PATH, forward=True)
    status, headers, _ = run_wsgi(middleware, environ_with())
    assert (status, dict(headers)["retry-after"]) == (503, "9")


def test_forwarding_wants_every_event() -> None:
    receiver = Receiver(SECRET)
    KarlaMiddleware(Recorder(), receiver)
    assert receiver.enabled_events == []
    KarlaMiddleware(Recorder(), receiver, PATH, forward=True)
    assert receiver.enabled_events == ["*"]


class BrokenInput:
    """What a server hands over when the connection broke: each has its own error."""

    def read(self, size: int) -> bytes:
        raise ConnectionResetError


def test_a_stream_that_breaks_is_an_incomplete_body() -> None:
    environ = environ_with(**{"wsgi.input": BrokenInput()})
    with logged_reasons() as reasons:
        assert run_wsgi(KarlaApp(Receiver(SECRET)), environ)[0] == 400
    assert reasons == ["body_incomplete"]


def test_no_more_is_read_than_was_declared() -> None:
    next_request = b"GET / HTTP/1.1"
    stream = io.BytesIO(BODY + next_request)

    run_wsgi(KarlaApp(Receiver(SECRET)), environ_with(**{"wsgi.input": stream}))
    assert stream.read() == next_request


def test_of_a_stream_that_gives_more_than_it_was_asked_for_only_the_body_is_taken() -> None:
    class Generous:
        def read(self, size: int) -> bytes:
            return BODY + b"GET / HTTP/1.1"

    app = Recorder()
    middleware = KarlaMiddleware(app, Receiver(SECRET), PATH, forward=True)
    environ = environ_with(**{"wsgi.input": Generous()})
    assert run_wsgi(middleware, environ)[0] == 299
    assert app.bodies == [BODY]


def test_a_body_without_a_length_is_read_no_further_than_the_limit() -> None:
    class Endless:
        read_bytes = 0

        def read(self, size: int) -> bytes:
            self.read_bytes += size
            return b"a" * size

    stream = Endless()
    environ = environ_with(**{"wsgi.input_terminated": True, "wsgi.input": stream})
    del environ["CONTENT_LENGTH"]

    assert run_wsgi(KarlaApp(Receiver(SECRET)), environ)[0] == 413
    assert stream.read_bytes <= 1_048_576 + 65_536


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        ((None, Receiver(SECRET)), "must be callable"),
        ((Receiver(SECRET), Recorder()), "the receiver comes second"),
        ((asgi_not_found, Receiver(SECRET)), "a WSGI app is called with environ, start_response"),
        ((Recorder(), SECRET), "expected a Receiver"),
        ((Recorder(), Receiver(SECRET), "webhooks"), "starts with '/'"),
        ((Recorder(), Receiver(SECRET), "/a", 1), "forward must be True or False"),
        ((Recorder(), Receiver(SECRET), None, True), "forward=True needs the view's path"),
    ],
)
def test_a_middleware_that_can_never_work_is_refused(arguments: Any, remedy: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        KarlaMiddleware(*arguments)
    assert remedy in str(refusal.value)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/up", 200), ("HEAD", "/up", 200), ("GET", "/healthz", 405), ("POST", "/up", 401)],
)
def test_the_app_alone_answers_a_health_check(method: str, path: str, status: int) -> None:
    app = KarlaApp(Receiver("other-secret"), health="/up")
    environ = environ_with(REQUEST_METHOD=method, PATH_INFO=path, SCRIPT_NAME="/hooks")
    answered, _, body = run_wsgi(app, environ)
    assert answered == status
    if status == 200:
        assert body == (b"" if method == "HEAD" else b'{"status":"success"}')


def test_a_post_that_misses_the_path_by_a_slash_is_told_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run_wsgi(KarlaMiddleware(Recorder(), Receiver(SECRET)), environ_with(PATH_INFO=PATH + "/"))
    assert "a POST to '/webhooks/karla/' went on to the app" in caplog.text
