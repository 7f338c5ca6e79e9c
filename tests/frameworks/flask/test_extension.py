"""What `Karla` gives an app, and the app's context around handlers."""

from __future__ import annotations

import asyncio
import gc
import inspect
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any
from weakref import ref

import pytest
from flask import Flask, current_app, g, has_app_context, request
from werkzeug.test import Client

from karla_receiver import (
    ConfigurationError,
    Event,
    Receiver,
    SignatureError,
    Verifier,
    parse_event,
    sign,
)
from karla_receiver.adapters.asgi import KarlaApp as ASGIApp
from karla_receiver.adapters.flask import Karla, endpoint, webhook
from karla_receiver.adapters.wsgi import KarlaApp, KarlaMiddleware
from karla_receiver.idempotency import MemoryStore
from karla_receiver.inbox import Novelty
from karla_receiver.signature import parse_header
from tests.asgi_server import knock_at
from tests.doors import PATH, signed_knock
from tests.signing import BODY, NOW, SECRET, signature_header

EVENT = parse_event(BODY)
OTHER = "another-secret-of-16"


def shop(name: str = "shop", **config: Any) -> Flask:
    app = Flask(name)
    app.config.update(config or {"KARLA_WEBHOOK_SECRET": SECRET})
    return app


def deliver(app: Any, secret: str = SECRET, path: str = PATH) -> int:
    client = Client(app.wsgi_app if isinstance(app, Flask) else app)
    headers = {**signature_header(BODY, secret), "Content-Type": "application/json"}
    return client.post(path, data=BODY, headers=headers).status_code


# --- the app's receiver --------------------------------------------------------------------------


def test_an_app_receives_with_the_secret_in_its_config() -> None:
    app = shop()
    karla = Karla(app)
    events: list[Event] = []
    karla.on("shipments")(events.append)  # afterwards, as in a module that is imported last

    assert deliver(app) == 200
    assert deliver(app, OTHER) == 401
    assert len(events) == 1
    assert app.extensions["karla"].enabled_events == ["shipments"]


def test_the_apps_of_a_factory_share_handlers_and_no_secret() -> None:
    karla = Karla()
    names: list[str] = []
    karla.on("*")(lambda event: names.append(current_app.name))
    apps = {name: shop(name, KARLA_WEBHOOK_SECRET=f"secret-of-{name}") for name in ("a", "b")}
    for app in apps.values():
        karla.init_app(app)

    @karla.on("claims", "shipments/delivered")
    def late(event: Event) -> None:
        names.append(f"late {current_app.name}")

    for name, app in apps.items():
        assert [deliver(app, f"secret-of-{each}") for each in apps] == [
            200 if each == name else 401 for each in apps
        ]
    assert names == ["a", "late a", "b", "late b"]


def test_an_app_and_its_receiver_can_be_forgotten() -> None:
    karla = Karla()
    app = shop()
    kept = ref(karla.init_app(app))
    del app
    gc.collect()
    assert kept() is None


def test_a_receiver_of_ones_own_keeps_its_secret_and_its_handlers() -> None:
    karla = Karla()
    names: list[str] = []
    karla.on("*")(lambda event: names.append("theirs"))
    receiver = Receiver(SECRET)
    receiver.on("*")(lambda event: names.append(f"own of {current_app.name}"))
    app = shop(KARLA_WEBHOOK_SECRET=OTHER)

    assert karla.init_app(app, receiver) is receiver is app.extensions["karla"]
    assert deliver(app) == 200
    assert names == ["own of shop", "theirs"]


@pytest.mark.parametrize(
    "config",
    [
        {"KARLA_WEBHOOK_SECRETS": [OTHER, SECRET]},
        {"KARLA_WEBHOOK_SECRETS": f"{OTHER},{SECRET}"},
    ],
)
def test_several_secrets_may_be_in_the_config(config: dict[str, Any]) -> None:
    app = shop(**config)
    Karla(app)
    assert [deliver(app, secret) for secret in (SECRET, OTHER)] == [200, 200]


def test_the_config_counts_when_a_delivery_comes() -> None:
    app = shop()
    Karla(app)
    for secret in (SECRET, OTHER):
        app.config["KARLA_WEBHOOK_SECRET"] = secret
        assert deliver(app) == (200 if secret == SECRET else 401)


def test_the_config_counts_for_a_worker_that_verifies_a_kept_delivery_once_more() -> None:
    """Such a worker has no request, and its process may never have had one."""

    class VerifyingInbox:
        key: Any = None

        def attach(self, handlers: object, verifier: Verifier, observer: object) -> None:
            self.verifier = verifier

        def put(self, delivery: object) -> Novelty:
            return Novelty.NEW

        async def put_async(self, delivery: object) -> Novelty:
            return Novelty.NEW

    app, inbox = shop(), VerifyingInbox()
    Karla().init_app(app, inbox=inbox)
    header = parse_header(sign(BODY, SECRET, timestamp=NOW))
    assert inbox.verifier.verify_parsed(BODY, header, now=NOW).secret_index == 0

    app.config["KARLA_WEBHOOK_SECRET"] = OTHER
    with pytest.raises(SignatureError, match="signature_mismatch"):
        inbox.verifier.verify_parsed(BODY, header, now=NOW)


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"A": 1}, "app.config must have KARLA_WEBHOOK_SECRET"),
        ({"KARLA_WEBHOOK_SECRET": None}, "KARLA_WEBHOOK_SECRET in app.config is None"),
        ({"KARLA_WEBHOOK_SECRETS": None}, "KARLA_WEBHOOK_SECRETS in app.config is None"),
    ],
)
def test_an_app_without_a_secret_can_be_made_and_receives_nothing(
    config: dict[str, Any], problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = shop(**config)
    Karla(app).on("claims")(lambda event: None)

    assert app.extensions["karla"].enabled_events == ["claims"], "to be registered with Karla"
    assert deliver(app) == 500
    assert problem in caplog.text


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"KARLA_WEBHOOK_SECRET": ""}, "empty or blank"),
        ({"KARLA_WEBHOOK_SECRET": 17}, "is a int"),
        ({"KARLA_WEBHOOK_SECRETS": {SECRET}}, "several in a list or separated by commas"),
        ({"KARLA_WEBHOOK_SECRETS": [SECRET], "KARLA_WEBHOOK_SECRET": SECRET}, "and not both"),
        ({"KARLA_WEBHOOK_SECRETS": f"{SECRET},"}, "secret 2 is empty or blank"),
    ],
)
def test_a_secret_that_can_never_work_is_an_error_of_init_app(
    config: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigurationError, match=problem) as raised:
        Karla(shop(**config))
    assert SECRET not in str(raised.value)


def test_the_receiver_takes_the_options_of_any() -> None:
    app = shop()
    Karla().init_app(app, max_body_bytes=100)
    assert deliver(app) == 413


def test_an_extension_that_can_never_work_is_an_error_where_it_is_made() -> None:
    karla, receiver = Karla(), Receiver(SECRET)
    with pytest.raises(ConfigurationError, match="expected a Receiver"):
        karla.init_app(shop(), SECRET)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="give the options to your Receiver"):
        karla.init_app(shop(), receiver, max_body_bytes=100)
    for path in ("webhooks/karla", b"/karla"):
        with pytest.raises(ConfigurationError, match="path must be None, or text that starts"):
            karla.init_app(shop(), path=path)  # type: ignore[arg-type]
    app = shop()
    karla.init_app(app, receiver)
    with pytest.raises(ConfigurationError, match="called with this app already"):
        karla.init_app(app)
    with pytest.raises(ConfigurationError, match="this receiver is of another app"):
        Karla().init_app(shop(), receiver)


def test_what_no_receiver_takes_is_an_error_where_it_is_registered() -> None:
    karla = Karla()
    with pytest.raises(ConfigurationError, match="a handler is called with event"):
        karla.on("claims")(lambda: None)  # type: ignore[type-var]
    with pytest.raises(ConfigurationError, match="must return a context manager"):
        karla.around(stream)  # type: ignore[type-var]
    assert karla.init_app(shop()).enabled_events == []


def stream(event: Event) -> Generator[None]:
    yield


@pytest.mark.parametrize("name", ["on", "around"])
def test_handlers_are_registered_as_with_a_receiver(name: str) -> None:
    own, receivers = (inspect.signature(getattr(kind, name)) for kind in (Karla, Receiver))
    assert own == receivers


# --- the route -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/hooks", "/<tenant>/hooks"])
def test_the_path_is_a_rule_of_the_app(path: str) -> None:
    app = shop()
    Karla().init_app(app, path=path)
    assert deliver(app, path=path.replace("<tenant>", "north")) == 200
    assert deliver(app) == 404


def test_without_a_path_the_receiver_may_be_mounted_in_any_way() -> None:
    seen: list[Event] = []
    app = shop()
    karla = Karla()
    receiver = karla.init_app(app, path=None)
    karla.on("*")(seen.append)
    app.post("/view")(webhook(receiver)(lambda event: None))
    app.add_url_rule("/endpoint", view_func=endpoint(receiver), methods=["POST"])

    assert deliver(app) == 404
    assert (deliver(app, path="/view"), deliver(app, path="/endpoint")) == (200, 200)
    assert deliver(KarlaMiddleware(app.wsgi_app, receiver)) == 200
    assert len(seen) == 3


def test_an_endpoint_is_one_of_a_receiver() -> None:
    with pytest.raises(ConfigurationError, match="expected a Receiver"):
        endpoint(SECRET)  # type: ignore[arg-type]


def test_something_else_of_that_name_is_left_alone() -> None:
    app = shop()
    app.extensions["csrf"] = object()
    Karla(app)
    assert deliver(app) == 200


# --- the context ---------------------------------------------------------------------------------


class Shop:
    """An app that remembers in which contexts its handlers were called."""

    def __init__(self, *, is_async: bool, store: Any = None) -> None:
        self.app = shop()
        self.karla = Karla()
        self.receiver = self.karla.init_app(self.app, idempotency=store)
        self.seen: list[Any] = []
        self.ended: list[Any] = []
        self.app.teardown_appcontext(self.ended.append)
        self.karla.on("*")(self.note_async if is_async else self.note)

    def note(self, event: Event) -> None:
        assert current_app == self.app
        self.seen.append(g.setdefault("owner", len(self.seen)))

    async def note_async(self, event: Event) -> None:
        await asyncio.sleep(0)
        self.note(event)


SYNC_AND_ASYNC = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


@SYNC_AND_ASYNC
def test_in_a_request_handlers_have_its_context(is_async: bool) -> None:
    made = Shop(is_async=is_async)
    made.karla.on("*")(made.note)
    paths: list[str] = []
    made.karla.on("*")(lambda event: paths.append(request.path))
    made.app.before_request(lambda: setattr(g, "owner", "request"))

    assert deliver(made.app) == 200
    assert (made.seen, made.ended) == (["request", "request"], [None])
    assert paths == [PATH]


def by_middleware(made: Shop) -> None:
    assert deliver(KarlaMiddleware(made.app.wsgi_app, made.receiver)) == 200


def by_itself(made: Shop) -> None:
    assert deliver(KarlaApp(made.receiver)) == 200


def by_asgi(made: Shop) -> None:
    assert knock_at(ASGIApp(made.receiver), signed_knock()).status == 200


def by_worker(made: Shop) -> None:
    made.receiver.handlers.handle(EVENT)


def in_a_request_of_another_app(made: Shop) -> None:
    with shop("other").test_request_context():
        made.receiver.handlers.handle(EVENT)


OUTSIDE: list[Callable[[Shop], None]] = [
    by_middleware,
    by_itself,
    by_asgi,
    by_worker,
    in_a_request_of_another_app,
]


@pytest.mark.parametrize("deliver_to", OUTSIDE, ids=lambda function: function.__name__)
@SYNC_AND_ASYNC
def test_outside_of_a_request_each_handler_has_a_context_of_its_own(
    deliver_to: Callable[[Shop], None], is_async: bool
) -> None:
    made = Shop(is_async=is_async)
    made.karla.on("*")(made.note)
    for _ in range(2):
        deliver_to(made)

    assert made.seen == [0, 1, 2, 3], "no g is another handler's"
    assert made.ended == [None] * 4
    assert not has_app_context()


@SYNC_AND_ASYNC
def test_what_ends_a_context_is_told_of_the_handlers_error(is_async: bool) -> None:
    made = Shop(is_async=False, store=MemoryStore())

    def fail(event: Event) -> None:
        raise LookupError

    async def fail_async(event: Event) -> None:
        raise LookupError

    made.karla.on("*")(fail_async if is_async else fail)
    assert deliver(KarlaApp(made.receiver)) == 500
    assert [type(error) for error in made.ended] == [type(None), LookupError]


def test_the_app_is_there_for_whatever_else_is_around_a_handler() -> None:
    karla, names = Karla(), list[str]()

    @karla.around
    @contextmanager
    def session(event: Event) -> Generator[None]:
        names.append(current_app.name)
        yield

    karla.on("*")(lambda event: None)
    karla.init_app(shop()).handlers.handle(EVENT)
    assert names == ["shop"]
