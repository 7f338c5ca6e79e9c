from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from quart import Blueprint, Quart, request
from werkzeug.exceptions import HTTPException, NotFound

from karla_receiver import Receiver
from karla_receiver.adapters.asgi import KarlaMiddleware
from karla_receiver.adapters.quart import endpoint, webhook
from tests.asgi_server import knock_at, serve
from tests.doors import PATH, Answer, Knock, asgi_scope, logged_reasons, run_asgi, signed_knock
from tests.observed import Keeper
from tests.signing import BODY, SECRET
from tests.waiting import PATIENCE_SECONDS


def sized_knock(body: bytes = BODY, **fields: Any) -> Knock:
    """Return a signed request that tells its length, as servers pass it on."""
    knock = signed_knock(body, **fields)
    knock.headers.append(("Content-Length", str(len(body))))
    return knock


def deliver(knock: Knock, before: Any = None, **config: Any) -> Answer:
    app = Quart("shop")
    app.config.update(config)
    app.post(PATH)(endpoint(Receiver(SECRET)))
    if before is not None:
        app.before_request(before)
    return knock_at(app, knock)


def test_a_receiver_with_handlers_needs_no_view() -> None:
    assert deliver(sized_knock()).status == 200


async def read_data() -> None:
    assert await request.get_data() == BODY


async def read_json() -> None:
    await request.get_json(silent=True)


async def touch_form() -> None:
    await request.form


@pytest.mark.parametrize("before", [read_data, read_json, touch_form])
def test_what_ran_before_does_not_matter(before: Any) -> None:
    assert deliver(sized_knock(), before).status == 200


@pytest.mark.parametrize("of_whom", ["app", "blueprint", "another blueprint"])
@pytest.mark.parametrize("secret", [SECRET, "another-secret-of-16"])
def test_before_request_comes_first_and_may_answer_by_itself(of_whom: str, secret: str) -> None:
    app, blueprint, another = Quart("shop"), Blueprint("karla", "shop"), Blueprint("other", "shop")
    blueprint.post(PATH)(endpoint(Receiver(SECRET)))
    hooked: dict[str, Any] = {"app": app, "blueprint": blueprint, "another blueprint": another}

    async def login() -> tuple[str, int]:
        return "who are you?", 403

    hooked[of_whom].before_request(login)
    app.register_blueprint(blueprint)
    app.register_blueprint(another)
    by_itself = 200 if secret == SECRET else 401
    expected = by_itself if of_whom == "another blueprint" else 403
    knock = signed_knock(secret=secret)
    assert knock_at(app, knock).status == expected


def test_a_body_that_something_consumed_is_refused_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def consume() -> None:
        await request.get_data(cache=False)

    assert deliver(sized_knock(), consume).status == 401
    assert "consumed before @webhook" in caplog.text


@pytest.mark.parametrize("is_declared", [True, False])
def test_a_body_beyond_quarts_own_limit_is_413(is_declared: bool) -> None:
    knock = sized_knock()
    if not is_declared:
        knock.headers = knock.headers[:1]
    answer = deliver(knock, MAX_CONTENT_LENGTH=10)
    assert (answer.status, answer.reason) == (413, "body_too_large")


def test_a_body_that_takes_longer_than_quarts_own_limit_is_refused() -> None:
    app = Quart("shop")
    app.config["BODY_TIMEOUT"] = 0.05
    app.post(PATH)(endpoint(Receiver(SECRET)))
    sent: list[Any] = []

    async def serve_one() -> None:
        messages: asyncio.Queue[Any] = asyncio.Queue()  # nothing more comes before the answer
        messages.put_nowait({"type": "http.request", "body": BODY[:9], "more_body": True})

        async def send(message: Any) -> None:
            sent.append(message)
            if message["type"] == "http.response.body":
                messages.put_nowait({"type": "http.disconnect"})

        await asyncio.wait_for(
            cast("Any", app)(asgi_scope(sized_knock()), messages.get, send), PATIENCE_SECONDS
        )

    with logged_reasons() as reasons:
        asyncio.run(serve_one())
    assert sent[0]["status"] == 400
    assert reasons == ["body_incomplete"]


def test_a_body_in_pieces_is_joined_and_one_that_never_ends_is_refused() -> None:
    def pieces() -> Any:
        for place in range(len(BODY)):
            yield {"type": "http.request", "body": BODY[place : place + 1], "more_body": True}
        yield {"type": "http.request", "body": b"", "more_body": False}

    def endless() -> Any:
        while True:
            yield {"type": "http.request", "body": b"a" * 65_536, "more_body": True}

    assert deliver(sized_knock(messages=pieces())).status == 200
    header_only = Knock(headers=sized_knock().headers[:1], messages=endless())
    assert deliver(header_only).status == 413


def test_nothing_is_called_or_sent_when_the_client_goes_away() -> None:
    half = {"type": "http.request", "body": BODY[:9], "more_body": True}
    answer = deliver(sized_knock(messages=iter([half, {"type": "http.disconnect"}])))
    assert answer.status is None


def test_a_view_gets_what_the_rule_captures() -> None:
    app = Quart("shop")

    @app.post("/<shop>/karla")
    @webhook(SECRET)
    async def view(event: Any, shop: str) -> dict[str, Any]:
        return {"shop": shop, "same": (await request.get_json()) == event.raw}

    knock = sized_knock()
    knock.headers.append(("Content-Type", "application/json"))
    scope = asgi_scope(knock, "/nordlicht/karla")
    _, *sent = serve(app, scope, iter([{"type": "http.request", "body": BODY}]))
    assert b"".join(message.get("body", b"") for message in sent) == (
        b'{"same":true,"shop":"nordlicht"}\n'
    )


def test_an_abort_without_a_status_is_no_success() -> None:
    app = Quart("shop")

    @app.post(PATH)
    @webhook(SECRET)
    async def view(event: Any) -> None:
        raise HTTPException

    answer = knock_at(app, sized_knock())
    assert (answer.status, answer.reason) == (500, "handler_error")


def test_what_the_apps_own_error_handler_answers_is_what_counts() -> None:
    keeper = Keeper()
    app = Quart("shop")

    @app.post(PATH)
    @webhook(Receiver(SECRET, observer=keeper))
    async def view(event: Any) -> None:
        raise NotFound

    @app.errorhandler(404)
    async def not_found(error: Any) -> tuple[str, int]:
        return "own", 418

    answer = knock_at(app, sized_knock())
    assert (answer.status, answer.body) == (418, b"own")
    assert [seen.status for seen in keeper.told] == [418]


@pytest.mark.parametrize(
    ("path", "root"),
    [
        ("http://x/webhooks/karla", ""),
        ("x:webhooks/karla", ""),
        ("webhooks/karla", ""),
        ("/apiwebhooks/karla", "/api"),
    ],
)
def test_what_quart_alone_takes_for_the_path_of_a_view_is_verified_before(
    path: str, root: str
) -> None:
    app = Quart("shop")
    ran: list[str] = []

    @app.post(PATH)
    async def view() -> str:
        ran.append(path)
        return "ok"

    def status_of(served: Any) -> int:
        scope = {**asgi_scope(Knock(body=b"{}")), "path": path, "root_path": root}
        whole = {"type": "http.request", "body": b"{}", "more_body": False}
        status: int = run_asgi(served, scope, iter([whole]))[0]["status"]
        return status

    assert (status_of(app), ran) == (200, [path])
    assert status_of(KarlaMiddleware(app, Receiver(SECRET), PATH, forward=True)) == 401
    assert ran == [path]
