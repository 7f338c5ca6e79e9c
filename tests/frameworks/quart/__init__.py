"""Quart: one view."""

from __future__ import annotations

from typing import Any

from quart import Quart, request
from werkzeug.exceptions import NotFound

from karla_receiver import Event, Receiver
from karla_receiver.adapters.asgi import KarlaMiddleware
from karla_receiver.adapters.quart import endpoint, webhook
from tests.asgi_server import knock_at
from tests.doors import PATH, Answer, Door, Knock
from tests.frameworks.contract import (
    STREAM,
    Behaviour,
    Example,
    Framework,
    ask_asgi,
    late,
    outcome,
)


async def nothing(event: Event) -> None:
    """Leave it to the receiver's handlers."""


def through_quart(receiver: Receiver, knock: Knock) -> Answer:
    app = Quart("shop")
    app.add_url_rule(
        PATH,
        view_func=webhook(receiver)(nothing),
        methods=[knock.method],
        provide_automatic_options=False,
    )
    return knock_at(app, knock)


def ruled(rule: str) -> Door:
    """Return a door through an app whose only view is a receiver's endpoint, at the rule."""

    def door(receiver: Receiver, knock: Knock) -> Answer:
        app = Quart("shop")
        app.post(rule)(endpoint(receiver))
        return knock_at(app, knock)

    return door


def through_quart_middleware(receiver: Receiver, knock: Knock) -> Answer:
    return knock_at(KarlaMiddleware(Quart("shop"), receiver), knock)


assert PATH == "/webhooks/karla"
ENDPOINTS: dict[str, Door] = {
    "quart": ruled(PATH),
    "quart <shop>": ruled("/webhooks/<shop>"),
    "quart middleware": through_quart_middleware,
}


def own(status: int | None) -> Any:
    if status == STREAM:
        return late()
    return None if status is None else ("own", status)


def shop(behaviour: Behaviour, secrets: tuple[Any, ...], is_async: bool, knock: Knock) -> Answer:
    async def async_view(event: Event) -> Any:
        body: Any = await request.get_data()
        return own(outcome(behaviour, event, body))

    def view(event: Event) -> Any:
        assert request.method == "POST"
        return own(outcome(behaviour, event, knock.body))

    app = Quart("shop")
    app.post(PATH)(webhook(*secrets)(async_view if is_async else view))
    return knock_at(app, knock)


FRAMEWORK = Framework(
    imports=frozenset({"quart", "werkzeug"}),
    doors={"quart": through_quart},
    shop=shop,
    # No server hands over a header with a newline in it, and Quart insists on that.
    not_let_in=frozenset({"HEAD-046", "HEAD-054"}),
    abort=NotFound(),
    ask=ask_asgi,
    serves=("quart --app shop run", 5000),
    examples={"quart_shop": Example("-m uvicorn quart_shop:app --port 0")},
)
