from __future__ import annotations

import gc
import logging
import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from karla_receiver.cli.shop import Adapter, Shop, serving
from karla_receiver.cli.witness import Witness
from karla_receiver.observing.logs import logger
from tests.waiting import PATIENCE_SECONDS

every_adapter = pytest.mark.parametrize("adapter", Adapter)


def shop() -> Shop:
    return Shop("secret-of-the-server", Witness())


@contextmanager
def nothing_left() -> Generator[list[str]]:
    """Fail unless all that was started inside is stopped, and nothing listens at the URLs."""
    before = set(threading.enumerate())
    urls: list[str] = []
    yield urls
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE_SECONDS)  # it may have said its last word, and be on its way out
    assert set(threading.enumerate()) <= before  # one of another test may end meanwhile
    for url in urls:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", urlsplit(url).port or 0))
    gc.collect()  # a socket that was forgotten would warn here, and a warning is an error
    assert urls


@every_adapter
def test_it_is_there_at_once_and_gone_afterwards(adapter: Adapter) -> None:
    with nothing_left() as urls, serving(adapter, shop()) as url:
        urls.append(url)
        assert httpx2.post(url, trust_env=False).status_code == 401


@every_adapter
def test_it_stops_where_no_request_ever_came(adapter: Adapter) -> None:
    with nothing_left() as urls, serving(adapter, shop()) as url:
        urls.append(url)


@every_adapter
def test_it_stops_while_a_client_holds_a_connection(adapter: Adapter) -> None:
    with (
        nothing_left() as urls,
        httpx2.Client(trust_env=False) as client,
        serving(adapter, shop()) as url,
    ):
        urls.append(url)
        client.post(url)


@pytest.mark.slow
@every_adapter
@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_it_stops_when_something_fails(adapter: Adapter, kind: type[BaseException]) -> None:
    def fail(urls: list[str]) -> None:
        with serving(adapter, shop()) as url:
            urls.append(url)
            raise kind

    with nothing_left() as urls, pytest.raises(kind):
        fail(urls)


@every_adapter
def test_the_servers_own_log_is_muted_while_it_runs(adapter: Adapter) -> None:
    log = logging.getLogger("uvicorn" if adapter is Adapter.ASGI else "waitress")
    with serving(adapter, shop()):
        assert not log.propagate
        assert [type(handler) for handler in log.handlers] == [logging.NullHandler]
    assert log.propagate
    assert not log.handlers


@every_adapter
def test_a_success_and_a_refusal_come_out_of_the_shop(adapter: Adapter) -> None:
    witness = Witness()
    with witness.listening(), serving(adapter, Shop("secret", witness)) as url:
        assert httpx2.get(url, trust_env=False).json()["reason"] == "method_not_allowed"
    assert witness.reasons == ["method_not_allowed"]
    assert witness not in logger.handlers


@pytest.mark.parametrize("adapter", [Adapter.WSGI, Adapter.FLASK])
def test_a_server_stops_although_its_loop_wakes_meanwhile(
    adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As waitress pulls the trigger of its loop after each answer too."""
    trigger: Any = import_module("waitress.trigger").trigger
    pull = trigger._physical_pull

    def pull_twice(pulled: object) -> None:
        pull(pulled)
        time.sleep(0.1)  # in which the loop does what it was told to
        pull(pulled)

    monkeypatch.setattr(trigger, "_physical_pull", pull_twice)
    with nothing_left() as urls, serving(adapter, shop()) as url:
        urls.append(url)
        assert httpx2.post(url).status_code == 401
