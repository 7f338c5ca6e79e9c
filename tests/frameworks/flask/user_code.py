"""Code as a user of Flask writes it, for type checkers only: nothing here is run."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import assert_type

from flask import Flask

from karla_receiver import ClaimEvent, Event, Receiver, ShipmentEvent
from karla_receiver.adapters import wsgi
from karla_receiver.adapters.flask import Karla, endpoint, webhook
from karla_receiver.inbox import SQLiteInbox

receiver = Receiver("secret")
app = Flask(__name__)


@app.post("/karla")
@webhook("secret")
def view(event: Event) -> None:
    """Acknowledge."""


@app.post("/<shop>/karla")
@webhook(receiver)
async def view_of_a_shop(event: Event, shop: str) -> dict[str, str]:
    return {"shop": shop}


app.add_url_rule("/<shop>/hooks", view_func=endpoint(receiver), methods=["POST"])

karla = Karla()


@karla.on("shipments/delivered")
def thank_the_customer(event: ShipmentEvent) -> None:
    assert_type(event.order_number, str | None)


@karla.on("claims")
async def look_into_it(event: ClaimEvent) -> None:
    assert_type(event.claim_id, str)


@karla.around
@contextmanager
def session(event: Event) -> Generator[None]:
    yield


def create_app() -> Flask:
    made = Flask(__name__)
    own = karla.init_app(made, path="/hooks", inbox=SQLiteInbox("karla.db", workers=2))
    assert_type(own, Receiver)
    Karla(made)
    karla.init_app(app, receiver, path=None)
    return made


app.wsgi_app = wsgi.KarlaMiddleware(app.wsgi_app, receiver, path="/hooks", forward=True)  # type: ignore[method-assign]
