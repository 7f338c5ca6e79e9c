"""A Karla to test against: registers endpoints over HTTP, and delivers signed events to them.

Needs the extra `testing`. Works in pytest and outside of it. For the command line's `webhooks`,
`python -m karla_receiver.testing.fake_karla` runs one until Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shlex
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Self, cast

try:
    import httpx2
    from pytest_httpserver import HTTPServer
    from werkzeug.serving import BaseWSGIServer
    from werkzeug.wrappers import Request, Response
except ModuleNotFoundError as _error:
    _message = f"{_error.name} is missing: pip install 'karla-receiver[testing]'"
    if __name__ == "__main__":
        print(_message, file=sys.stderr)  # noqa: T201 - of a program
        sys.exit(2)
    raise ModuleNotFoundError(_message, name=_error.name) from None

from karla_receiver.checks import checked_count, checked_seconds, wall_clock
from karla_receiver.errors import ConfigurationError
from karla_receiver.signature import sign
from karla_receiver.testing.fake_api import Duplicates, FakeAPI, FakeResponse, RegisteredWebhook
from karla_receiver.testing.fake_sending import (
    Attempt,
    Sendable,
    Sent,
    body_of,
    is_local,
    is_wanted,
    opened_client,
    post,
)

__all__ = ["Attempt", "Duplicates", "FakeKarla", "RegisteredWebhook", "Sendable", "Sent"]

_MOST_ATTEMPTS = 1_000_000
_LONGEST_WAIT = 366 * 86_400  # seconds
_API_PATHS = re.compile(r"/v1/.*")


@dataclass(frozen=True, slots=True)
class _Fault:
    response: Response
    is_done: bool


class _QuickServer(HTTPServer):
    def thread_target(self) -> None:
        # Polling as often as this, because stop() waits for it.
        cast("BaseWSGIServer", self.server).serve_forever(poll_interval=0.02)


class FakeKarla:
    """Serves Karla's webhook API on this machine, and delivers events to what is registered.

    shop_slug, username, api_key: what its API accepts.
    server: a running one of pytest-httpserver, as its fixture `httpserver`, which then serves
    the API below /v1/; a server of its own if left out.
    clock: returns unix seconds. sleep: waits for that many. With a clock that can be set, give
    the function that advances it, and deliveries are late and retried in no time.
    duplicates: what a second registration of a URL comes to. page_limit: the most webhooks that
    a page of the list holds.

    Use it in a `with` statement, in pytest or anywhere else.
    """

    def __init__(
        self,
        *,
        shop_slug: str = "nordwind",
        username: str = "nordwind",
        api_key: str = "fake-api-key",
        server: HTTPServer | None = None,
        clock: Callable[[], float] = wall_clock,
        sleep: Callable[[float], None] = time.sleep,
        duplicates: Duplicates = Duplicates.ADD,
        page_limit: int = 100,
    ) -> None:
        self._api = FakeAPI(
            shop_slug=shop_slug,
            username=username,
            api_key=api_key,
            clock=clock,
            duplicates=duplicates,
            page_limit=page_limit,
        )
        self._credentials = {
            "KARLA_SHOP_SLUG": shop_slug,
            "KARLA_API_USERNAME": username,
            "KARLA_API_KEY": api_key,
        }
        self._is_own_server = server is None
        self._server = _QuickServer("127.0.0.1", 0) if server is None else server
        self._clock = clock
        self._sleep = sleep
        self._places: dict[str, str] = {}
        self._faults: list[_Fault] = []
        self._calls: list[str] = []

    def __enter__(self) -> Self:
        self._server.expect_request(_API_PATHS).respond_with_handler(self._respond)
        if self._is_own_server:
            self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_own_server:
            self._server.stop()

    @property
    def api_url(self) -> str:
        """Where the API is, as `base_url` of a client."""
        return self._server.url_for("").rstrip("/")

    @property
    def environ(self) -> dict[str, str]:
        """The environment variables that lead a client here: for `KarlaAPI.from_env`."""
        return {**self._credentials, "KARLA_API_URL": self.api_url}

    @property
    def webhooks(self) -> list[RegisteredWebhook]:
        """What is registered, with secrets, in the order of registration."""
        return self._api.webhooks

    @property
    def calls(self) -> list[str]:
        """The API calls that came, in order, as in "GET /v1/shops/nordwind/webhooks"."""
        return list(self._calls)

    def register(
        self,
        url: str,
        *,
        enabled_events: Iterable[str] = ("*",),
        secret: str | None = None,
        description: str | None = None,
        status: str = "active",
    ) -> RegisteredWebhook:
        """Register an endpoint without the API, and without its checks.

        secret: Karla makes one if left out; it is in the result.
        """
        return self._api.register(
            url,
            enabled_events=enabled_events,
            secret=secret,
            description=description,
            status=status,
        )

    def unregister(self, uuid: str) -> None:
        """Forget a webhook, as when someone deletes it in the portal."""
        self._api.unregister(uuid)

    def reach(self, url: str, *, at: str) -> None:
        """Deliver what is for the registered url to another one, as of a server under test."""
        self._places[url] = at

    def fail_next(
        self,
        status: int,
        *,
        times: int = 1,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        is_done: bool = False,
    ) -> None:
        """Answer the next API calls with a failure.

        is_done: carry out the call all the same, as when only the answer is lost.
        """
        self._faults += [_Fault(Response(body, status, headers), is_done) for _ in range(times)]

    def send(
        self,
        *events: Sendable,
        attempts: int = 1,
        wait: float = 0,
        renew: bool = True,
        delay: float = 0,
        copies: int = 1,
        shuffle: int | None = None,
    ) -> list[Sent]:
        """Deliver events to every active webhook that has them enabled.

        attempts: at most, until one is answered 200; wait: seconds before each further one, while
        other deliveries go on. renew: whether a further attempt has a timestamp and a signature
        of its own. delay: seconds between signing and sending. copies: how often each is
        delivered. shuffle: the seed of a random order; in order of the events if left out.
        Karla documents neither its retries nor its order, so test with all of these.
        Raises ConfigurationError for a number that makes no sense, and for a URL outside of this
        machine that `reach` does not cover.
        """
        checked_count("attempts", attempts, least=1, most=_MOST_ATTEMPTS)
        checked_count("copies", copies, least=1, most=_MOST_ATTEMPTS)
        checked_seconds("wait", wait, least=0, most=_LONGEST_WAIT)
        checked_seconds("delay", delay, least=0, most=_LONGEST_WAIT)
        deliveries = [
            Sent(webhook=webhook, body=body)
            for body in map(body_of, events)
            for webhook in self.webhooks
            if is_wanted(webhook, body)
            for _ in range(copies)
        ]
        if shuffle is not None:
            random.Random(shuffle).shuffle(deliveries)  # noqa: S311 - an order, not a secret
        places = [self._place_of(each.webhook.url) for each in deliveries]
        open_ones = list(zip(deliveries, places, strict=True))
        with opened_client(places) as client:
            for round_number in range(attempts):
                if round_number and open_ones:
                    self._sleep(wait)
                for delivery, place in open_ones:
                    delivery.attempts.append(
                        self._attempt(client, delivery, place, renew=renew, delay=delay)
                    )
                open_ones = [each for each in open_ones if not each[0].is_acknowledged]
        return deliveries

    def _place_of(self, url: str) -> str:
        place = self._places.get(url, url)
        if place == url and not is_local(url):
            raise ConfigurationError(
                f"{url} is not on this machine: say where to find it, with reach(url, at=...)"
            )
        return place

    def _attempt(
        self, client: httpx2.Client, delivery: Sent, place: str, *, renew: bool, delay: float
    ) -> Attempt:
        first = delivery.attempts[0] if delivery.attempts and not renew else None
        timestamp = int(self._clock()) if first is None else first.timestamp
        signature = sign(delivery.body, delivery.webhook.secret, timestamp=timestamp)
        if delay:
            self._sleep(delay)
        status, problem = post(client, place, delivery.body, signature)
        return Attempt(timestamp=timestamp, signature=signature, status=status, problem=problem)

    def _respond(self, request: Request) -> Response:
        self._calls.append(f"{request.method} {request.full_path.rstrip('?')}")
        fault = self._faults.pop(0) if self._faults else None
        if fault is not None and not fault.is_done:
            return fault.response
        response = self._api.answer(
            request.method,
            request.path,
            query=request.args.to_dict(),
            authorization=request.headers.get("Authorization", ""),
            body=request.get_data(),
        )
        return fault.response if fault is not None else _http_response(response)


def _http_response(response: FakeResponse) -> Response:
    body = json.dumps(response.body)
    return Response(body, response.status, response.headers, content_type="application/json")


def _main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m karla_receiver.testing.fake_karla",
        description="Serve a fake Karla on this machine, for `karla-receiver webhooks`, until"
        " Ctrl-C. Prints the environment variables that lead there.",
        epilog="Exit status: 0 when it was ended, 2 for wrong usage, such as a port in use.",
    )
    parser.add_argument("--port", type=int, default=0, help="where to serve; any free port if 0")
    port: int = parser.parse_args().port
    try:
        # Before the server does, which would say so and exit with 1.
        socket.create_server(("127.0.0.1", port)).close()
    except (OSError, OverflowError) as error:
        parser.error(f"cannot serve at port {port}: {error}")
    with (
        _QuickServer("127.0.0.1", port) as server,
        FakeKarla(server=server) as karla,
        suppress(KeyboardInterrupt),
    ):
        for name, value in karla.environ.items():
            print(f"export {name}={shlex.quote(value)}")  # noqa: T201 - its output
        print("# These lead karla-receiver webhooks here. Ctrl-C ends it.", flush=True)  # noqa: T201 - the same
        threading.Event().wait()


if __name__ == "__main__":
    _main()
