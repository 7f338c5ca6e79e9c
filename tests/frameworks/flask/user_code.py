"""Code as a user of Flask writes it, for type checkers only: nothing here is run."""

from __future__ import annotations

from flask import Flask

from karla_receiver import Event, Receiver
from karla_receiver.adapters import wsgi
from karla_receiver.adapters.flask import webhook

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


app.wsgi_app = wsgi.KarlaMiddleware(app.wsgi_app, receiver, path="/hooks", forward=True)  # type: ignore[method-assign]
