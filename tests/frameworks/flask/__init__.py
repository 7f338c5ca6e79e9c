"""Flask: a decorated view, and a receiver whose handlers do everything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import NotFound

from karla_receiver import Event, Receiver
from karla_receiver.adapters.flask import Karla, endpoint, webhook
from tests.doors import PATH, Answer, Door, Knock, answer_of, logged_reasons, run_wsgi, wsgi_environ
from tests.frameworks.contract import STREAM, Behaviour, Example, Framework, ask_wsgi, outcome


def nothing(event: Event) -> None:
    """Leave it to the receiver's handlers."""


def knock_at(app: Flask, knock: Knock) -> Answer:
    """Send one request to an app."""
    with logged_reasons() as reasons:
        return answer_of(reasons, *run_wsgi(app, wsgi_environ(knock)))


def through_flask(
    receiver: Receiver, knock: Knock, prepare: Callable[[Flask], None] | None = None
) -> Answer:
    app = Flask("shop")
    app.add_url_rule(
        PATH,
        view_func=webhook(receiver)(nothing),
        methods=[knock.method],
        provide_automatic_options=False,
    )
    if prepare is not None:
        prepare(app)
    return knock_at(app, knock)


def mounted_at(rule: str) -> Door:
    def knock_there(receiver: Receiver, knock: Knock) -> Answer:
        app = Flask("shop")
        app.add_url_rule(rule, view_func=endpoint(receiver), methods=["POST"])
        return knock_at(app, knock)

    return knock_there


# A receiver is of one app, and a door may be knocked at again.
_apps: dict[Receiver, Flask] = {}


def through_the_extension(receiver: Receiver, knock: Knock) -> Answer:
    app = _apps.get(receiver)
    if app is None:
        app = _apps[receiver] = Flask("shop")
        Karla().init_app(app, receiver)
    return knock_at(app, knock)


ENDPOINTS: dict[str, Door] = {
    "flask": mounted_at(PATH),
    "flask <tenant>": mounted_at("/webhooks/<tenant>"),
    "flask init_app": through_the_extension,
}


def late() -> Iterator[bytes]:
    """Fail when the answer is being sent."""
    raise LookupError("the work failed")
    yield b""


def own(status: int | None) -> Any:
    if status == STREAM:
        return Response(late())
    return None if status is None else ("own", status)


def shop(behaviour: Behaviour, secrets: tuple[Any, ...], is_async: bool, knock: Knock) -> Answer:
    def view(event: Event) -> Any:
        return own(outcome(behaviour, event, request.get_data()))

    async def async_view(event: Event) -> Any:
        return view(event)

    app = Flask("shop")
    app.post(PATH)(webhook(*secrets)(async_view if is_async else view))
    return knock_at(app, knock)


FRAMEWORK = Framework(
    imports=frozenset({"click", "flask", "werkzeug"}),
    doors={"flask": through_flask},
    reads_by_length=("flask",),
    shop=shop,
    runs_streams=True,
    abort=NotFound(),
    ask=ask_wsgi,
    serves=("flask --app shop run", 5000),
    examples={"flask_shop": Example("-m flask --app flask_shop.py run --port 0")},
)
