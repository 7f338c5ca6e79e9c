"""The door of Quart."""

from __future__ import annotations

from quart import Quart

from karla_receiver import Event, Receiver
from karla_receiver.adapters.quart import webhook
from tests.asgi_server import knock_at
from tests.doors import PATH, Answer, Door, Knock


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


DOORS: dict[str, Door] = {"quart": through_quart}
