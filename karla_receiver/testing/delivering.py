"""Delivers events to endpoints, as the fixture `karla_deliver` does."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from karla_receiver.errors import ConfigurationError
from karla_receiver.testing.answers import Answer
from karla_receiver.testing.builders import BuiltEvent
from karla_receiver.testing.clients import Client, Target, client_for
from karla_receiver.testing.deliveries import BadKind, Delivery, bad_delivery, signed_delivery
from karla_receiver.views.paths import DEFAULT_PATH

__all__ = ["Deliverer"]


class Deliverer:
    """Signs events and delivers them.

    secret: what to sign with; path: of the endpoint in an app.
    clock: returns the unix seconds to sign at.

    An app in this process is started at its first delivery (ASGI's lifespan) and stopped by
    `close`, so it keeps its state from one delivery to the next.
    """

    def __init__(
        self, secret: str | bytes, *, clock: Callable[[], float], path: str = DEFAULT_PATH
    ) -> None:
        self._secret = secret
        self._clock = clock
        self._path = path
        self._open = ExitStack()
        self._clients: dict[tuple[int | str, str | None], tuple[Target, Client]] = {}

    def __call__(
        self,
        target: Target,
        event: BuiltEvent | bytes | Delivery,
        *,
        path: str | None = None,
        timestamp: int | None = None,
        bad: BadKind | str | None = None,
    ) -> Answer:
        """Deliver an event and return the answer.

        target: an ASGI or WSGI app, a Receiver, the endpoint's URL, or a function `send(delivery)`
        that returns the endpoint's `Answer`.
        event: from a builder; or a body, which is signed as it is; or a delivery that was made
        already, which is sent as it is.
        path: of the endpoint in this app, if it is another one.
        timestamp: to sign at, in unix seconds, instead of the clock's time.
        bad: delivers it in a way that must be refused; see `BadKind`.
        Raises what an app in this process raises instead of answering, NoAnswerError if there is
        no answer, ConfigurationError for arguments that cannot be used.
        """
        return self._client(target, path).send(self._delivery(event, timestamp, bad))

    def close(self) -> None:
        """Stop the apps that were started."""
        self._clients.clear()
        self._open.close()

    def _delivery(
        self,
        event: BuiltEvent | bytes | Delivery,
        timestamp: int | None,
        bad: BadKind | str | None,
    ) -> Delivery:
        if isinstance(event, Delivery):
            if timestamp is not None or bad is not None:
                raise ConfigurationError("a delivery is sent as it is: give the event instead")
            return event
        body = event.body if isinstance(event, BuiltEvent) else event
        moment = int(self._clock()) if timestamp is None else timestamp
        if bad is None:
            return signed_delivery(body, self._secret, timestamp=moment)
        return bad_delivery(bad, body, self._secret, now=moment)

    def _client(self, target: Target, path: str | None) -> Client:
        if isinstance(target, str):
            return client_for(target, path=path)
        place = self._path if path is None else path
        key = (id(target), place)
        if key not in self._clients:
            client = self._open.enter_context(client_for(target, path=place))
            # The target too: an id is unique only as long as its object lives.
            self._clients[key] = (target, client)
        return self._clients[key][1]
