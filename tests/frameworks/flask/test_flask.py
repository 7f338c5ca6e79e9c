from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import pytest
from flask import Flask, Response, abort, request
from flask.views import MethodView

from karla_receiver import ConfigurationError, Event, Receiver, ShipmentEvent, sign
from karla_receiver.adapters.flask import webhook
from tests.doors import PATH, Knock, logged_reasons, run_wsgi, wsgi_environ
from tests.signing import BODY, SECRET, signature_header


def deliver(
    view: Callable[..., Any],
    *secrets: Any,
    before: Callable[[], object] | None = None,
    rule: str = "/karla",
    path: str = "/karla",
    **request_fields: Any,
) -> Any:
    app = Flask("shop")
    app.post(rule)(webhook(*(secrets or (SECRET,)))(view))
    if before is not None:

        @app.before_request
        def run_before() -> None:
            before()

    headers = {"Karla-Signature": sign(BODY, SECRET), "Content-Type": "application/json"}
    return app.test_client().post(path, **{"data": BODY, "headers": headers, **request_fields})


def nothing(event: Event) -> None:
    """Acknowledge."""


def stream_of_parts(event: Event) -> Iterator[str]:
    yield "part"


def test_a_view_that_returns_nothing_acknowledges() -> None:
    events: list[Event] = []
    response = deliver(events.append)

    assert (response.status_code, response.json) == (200, {"status": "success"})
    assert response.content_type == "application/json"
    assert isinstance(events[0], ShipmentEvent)


@pytest.mark.parametrize(
    ("returned", "status", "content"),
    [
        (("later", 202), 202, b"later"),
        ("", 200, b""),
        ({"a": 1}, 200, b'{"a":1}\n'),
        (("no", 500), 500, b"no"),
    ],
)
def test_anything_else_that_a_view_returns_is_its_response(
    returned: Any, status: int, content: bytes
) -> None:
    response = deliver(lambda event: returned)
    assert (response.status_code, response.data) == (status, content)


@pytest.mark.parametrize("is_hidden", [False, True])
def test_an_async_view_runs_to_its_end(is_hidden: bool) -> None:
    async def view(event: ShipmentEvent) -> dict[str, str]:
        await asyncio.sleep(0)
        return {"shipment": event.shipment_id, "method": request.method}

    response = deliver((lambda event: view(event)) if is_hidden else view)
    assert response.json == {
        "shipment": "2f3f4a0e-9b5c-4c2b-8a71-5f0c9f1f6a10",
        "method": "POST",
    }


def test_a_view_gets_what_the_rule_captures_and_can_read_the_request() -> None:
    def view(event: Event, shop: str) -> dict[str, Any]:
        return {"shop": shop, "same": request.get_data() == BODY, "json": request.json == event.raw}

    response = deliver(view, rule="/<shop>/karla", path="/nordlicht/karla")
    assert response.json == {"shop": "nordlicht", "same": True, "json": True}


@pytest.mark.parametrize("view", [nothing, lambda event: ("never", 299)])
def test_a_refusal_is_answered_without_calling_the_view(view: Any) -> None:
    response = deliver(view, "another-secret")
    assert response.status_code == 401
    assert response.content_type == "application/problem+json"


def test_several_secrets_or_a_receiver_may_be_given() -> None:
    receiver = Receiver(SECRET)
    events: list[Event] = []
    receiver.on("shipments")(events.append)

    assert deliver(nothing, "new-secret", SECRET).status_code == 200
    assert deliver(events.append, receiver).status_code == 200
    assert len(events) == 2
    assert receiver.enabled_events == ["*"]


def test_an_error_in_the_view_is_500_and_logged_but_not_shown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def view(event: Event) -> None:
        raise LookupError("canary")

    response = deliver(view)
    assert (response.status_code, response.json["reason"]) == (500, "handler_error")
    assert b"canary" not in response.data
    assert "LookupError: canary" in caplog.text


def test_abort_is_the_views_own_response() -> None:
    def view(event: Event) -> None:
        abort(503)

    response = deliver(view)
    assert response.status_code == 503
    assert response.content_type.startswith("text/html")


@pytest.mark.parametrize("answer", ["text", ("made", 201), {"a": 1}, ("no", 418), (None, 1)])
def test_only_an_answer_of_success_counts_as_handled(answer: Any) -> None:
    with logged_reasons() as reasons:
        response = deliver(lambda event: answer)
    assert reasons == ([] if 200 <= response.status_code < 300 else ["handler_error"])
    assert response.status_code == (
        500 if answer == (None, 1) else answer[1] if isinstance(answer, tuple) else 200
    )


def test_a_streamed_answer_that_fails_counts_as_not_handled() -> None:
    def view(event: Event) -> Any:
        def parts() -> Iterator[str]:
            yield "one"
            raise LookupError

        return Response(parts())

    with logged_reasons() as reasons:
        assert deliver(view).status_code == 500
    assert reasons == ["handler_error"]


def test_abort_counts_as_not_handled() -> None:
    with logged_reasons() as reasons:
        assert deliver(lambda event: abort(409)).status_code == 409
    assert reasons == ["handler_error"]


def test_a_method_of_a_view_class_gets_the_event_after_itself() -> None:
    class Deliveries(MethodView):
        @webhook(SECRET)
        def post(self, event: Event, shop: str) -> dict[str, Any]:
            return {"self": isinstance(self, Deliveries), "ref": event.ref, "shop": shop}

    app = Flask("shop")
    app.add_url_rule("/karla/<shop>", view_func=Deliveries.as_view("deliveries"))
    headers = signature_header()
    answer = app.test_client().post("/karla/north", data=BODY, headers=headers).json
    assert answer == {
        "self": True,
        "ref": "shipments/delivered/SUCCESSFULLY_DELIVERED",
        "shop": "north",
    }


@pytest.mark.parametrize(
    ("view", "remedy"),
    [
        (lambda event=None: None, "give its first parameter no default"),
        (lambda *events: None, "give its first parameter no default"),
        (lambda self, event=None: None, "give its first parameter no default"),
        (lambda self, *events: None, "give its first parameter no default"),
        (stream_of_parts, "is a generator"),
    ],
)
def test_a_view_that_could_serve_what_is_not_verified_is_refused(view: Any, remedy: str) -> None:
    with pytest.raises(ConfigurationError, match=remedy):
        webhook(SECRET)(view)


def test_a_view_that_does_not_tell_its_parameters_is_taken_as_it_is() -> None:
    assert callable(webhook(SECRET)(dict))


def test_a_body_read_in_part_is_refused_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    response = deliver(nothing, before=lambda: request.stream.read(10))

    assert response.status_code == 401
    assert "consumed before @webhook" in caplog.text


def test_a_touched_stream_that_breaks_is_an_incomplete_body() -> None:
    class Broken:
        def read(self, size: int = -1) -> bytes:
            raise ConnectionResetError

    environ = {"wsgi.input": Broken(), "wsgi.input_terminated": True, "CONTENT_LENGTH": ""}
    with logged_reasons() as reasons:
        response = deliver(
            nothing, before=lambda: [request.stream].clear(), environ_overrides=environ
        )
    assert (response.status_code, reasons) == (400, ["body_incomplete"])


def test_flasks_own_limit_on_a_touched_body_of_no_length_is_too_large() -> None:
    app = Flask("shop")
    app.config["MAX_CONTENT_LENGTH"] = 10
    app.before_request(lambda: [request.stream].clear())
    app.post("/karla")(webhook(SECRET)(nothing))
    environ = {"wsgi.input": BytesIO(BODY), "wsgi.input_terminated": True, "CONTENT_LENGTH": ""}
    headers = signature_header()
    with logged_reasons() as reasons:
        response = app.test_client().post("/karla", headers=headers, environ_overrides=environ)
    assert (response.status_code, reasons) == (413, ["body_too_large"])


BEFORE: dict[str, Callable[[], object]] = {
    "json": lambda: request.get_json(silent=True),
    "data": lambda: request.get_data(),
    "form of a body that is none": lambda: request.form,
    "files": lambda: request.files,
    "the stream, unread": lambda: request.stream,
    "values": lambda: request.values,
}


@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE)
def test_what_ran_before_does_not_matter(before: Callable[[], object]) -> None:
    def view(event: Event) -> dict[str, bool]:
        return {"same": request.get_data() == BODY}

    assert deliver(view, before=before).json == {"same": True}


def test_a_body_that_something_consumed_is_refused_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    response = deliver(nothing, before=lambda: request.get_data(cache=False))

    assert response.status_code == 401
    assert "consumed before @webhook" in caplog.text


# Those that read the body themselves read as far as Flask's own limit lets them.
TOUCHING = [before for name, before in BEFORE.items() if name not in {"json", "data"}]


@pytest.mark.parametrize("before", [None, *TOUCHING])
def test_a_body_of_no_length_is_read_no_further_than_the_limit(
    before: Callable[[], object] | None,
) -> None:
    class Endless:
        read_bytes = 0

        def read(self, size: int = -1) -> bytes:
            assert 0 < size <= 65_536
            self.read_bytes += size
            return b"a" * size

    stream = Endless()
    environ = {"wsgi.input": stream, "wsgi.input_terminated": True, "CONTENT_LENGTH": ""}
    with logged_reasons() as reasons:
        response = deliver(nothing, before=before, environ_overrides=environ)

    assert (response.status_code, reasons) == (413, ["body_too_large"])
    assert stream.read_bytes <= 1_048_576 + 65_536


@pytest.mark.slow
@pytest.mark.parametrize("is_touched", [False, True])
def test_a_body_in_countless_pieces_is_kept_once(is_touched: bool) -> None:
    body = b"ab" * 20_000
    app = Flask("shop")
    if is_touched:
        app.before_request(lambda: [request.stream].clear())
    app.post(PATH)(webhook(SECRET)(nothing))
    headers = [("Karla-Signature", sign(body, SECRET)), ("Content-Length", str(len(body)))]
    environ = wsgi_environ(Knock(headers=headers, body=body, read_at_most=2))
    tracemalloc.start()
    try:
        status, _, _ = run_wsgi(app, environ)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert status == 400, "genuine, and not JSON"
    assert peak < 12 * len(body)


@pytest.mark.parametrize("is_declared", [True, False])
@pytest.mark.parametrize(
    ("limit", "receivers", "status"),
    [
        (len(BODY), 1_048_576, 200),
        (len(BODY) - 1, 1_048_576, 413),
        (1_048_576, len(BODY) - 1, 413),
    ],
)
def test_the_lower_of_flasks_limit_and_the_receivers_holds(
    limit: int, receivers: int, status: int, is_declared: bool
) -> None:
    seen: list[bytes] = []
    app = Flask("shop")
    app.config["MAX_CONTENT_LENGTH"] = limit

    @app.post("/karla")
    @webhook(Receiver(SECRET, max_body_bytes=receivers))
    def view(event: Event) -> None:
        seen.append(request.get_data())

    environ: dict[str, Any] = {"wsgi.input": BytesIO(BODY), "wsgi.input_terminated": True}
    environ["CONTENT_LENGTH"] = str(len(BODY)) if is_declared else ""
    headers = signature_header()
    with logged_reasons() as reasons:
        response = app.test_client().post("/karla", headers=headers, environ_overrides=environ)

    assert (response.status_code, seen) == (status, [BODY] if status == 200 else [])
    assert reasons == ([] if status == 200 else ["body_too_large"])
    assert response.is_json


def test_a_forgotten_secret_is_an_error_where_the_view_is_decorated() -> None:
    with pytest.raises(ConfigurationError, match=r"write @webhook\(secret\)"):
        webhook(nothing)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="no secret given"):
        webhook()
    with pytest.raises(ConfigurationError, match="not both"):
        webhook(SECRET, Receiver(SECRET))
    with pytest.raises(ConfigurationError, match="empty or blank"):
        webhook("")


def test_a_view_that_does_not_take_the_event_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="a view is called with event"):
        webhook(SECRET)(lambda: None)


def test_the_view_keeps_its_name_for_the_url_map() -> None:
    assert webhook(SECRET)(nothing).__name__ == "nothing"
