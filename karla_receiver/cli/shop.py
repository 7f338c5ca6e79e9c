"""The demo's application: a receiver whose handlers tell a witness what they were given."""

from __future__ import annotations

from contextlib import AbstractContextManager
from enum import StrEnum, unique

from karla_receiver import ClaimEvent, Event, Receiver, ShipmentEvent, UnknownEvent
from karla_receiver.adapters import asgi, wsgi
from karla_receiver.cli.deliveries import FAILING_REF, MAX_BODY_BYTES
from karla_receiver.cli.server import serving_asgi, serving_wsgi
from karla_receiver.cli.witness import Witness
from karla_receiver.views.paths import DEFAULT_PATH

__all__ = ["Adapter", "Shop", "serving"]


@unique
class Adapter(StrEnum):
    """How the demo's receiver is served."""

    ASGI = "asgi"
    WSGI = "wsgi"
    FLASK = "flask"


class Shop:
    """A receiver with handlers for shipments and claims, one of which always fails.

    receiver: to be served; `take_rest` is not registered with it, for in Flask that is the view.
    """

    def __init__(self, secret: str, witness: Witness) -> None:
        self._witness = witness
        self.receiver: Receiver = Receiver(secret, max_body_bytes=MAX_BODY_BYTES)
        self.receiver.on("shipments")(self._take_shipment)
        self.receiver.on("claims")(self._take_claim)
        self.receiver.on(FAILING_REF)(self._fail)

    def _take_shipment(self, event: ShipmentEvent) -> None:
        self._witness.note(event)

    def _take_claim(self, event: ClaimEvent) -> None:
        self._witness.note(event)

    def _fail(self, event: ShipmentEvent) -> None:
        raise RuntimeError(f"the demo's handler fails for every {event.ref}")

    def take_rest(self, event: Event) -> None:
        """Take any event; only those that are of no known kind are news."""
        if isinstance(event, UnknownEvent):
            self._witness.note(event)


def serving(adapter: Adapter, shop: Shop) -> AbstractContextManager[str]:
    """Serve a shop's receiver on a free port of this machine, and hand out the webhook's URL.

    When it is left, the server is stopped: no thread and no socket remain.
    Raises ModuleNotFoundError if adapter needs a framework that is not installed.
    """
    if adapter is Adapter.FLASK:
        return serving_wsgi(_flask_app(shop))
    shop.receiver.on("*")(shop.take_rest)
    if adapter is Adapter.WSGI:
        return serving_wsgi(wsgi.KarlaApp(shop.receiver))
    return serving_asgi(asgi.KarlaApp(shop.receiver))


def _flask_app(shop: Shop) -> wsgi.WSGIApp:
    # Here, because Flask is an extra of its own.
    from flask import Flask

    from karla_receiver.adapters.flask import webhook

    app = Flask(__name__)
    # With GET, so that it is the receiver who refuses one, and says so in its log.
    app.route(DEFAULT_PATH, methods=["GET", "POST"])(webhook(shop.receiver)(shop.take_rest))
    return app
