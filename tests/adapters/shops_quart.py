from __future__ import annotations

from typing import Any

from quart import Quart, request
from werkzeug.exceptions import NotFound

from karla_receiver import Event
from karla_receiver.adapters.quart import webhook
from tests.adapters.views import STREAM, Behaviour, late, outcome
from tests.asgi_server import knock_at
from tests.doors import PATH, Answer, Knock

ABORT = NotFound()


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
