"""Error reports with the local variables of each frame show neither bodies nor signatures."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import logging
import pkgutil
import time
import traceback
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from celery import Celery

import karla_receiver
from karla_receiver import Receiver, Request
from karla_receiver.adapters.celery import CeleryInbox
from karla_receiver.errors import StorageError
from karla_receiver.idempotency import MemoryStore, SQLiteStore
from karla_receiver.inbox import SQLiteInbox
from karla_receiver.registration.secret import Secret
from tests.inbox.stock import states
from tests.signing import SECRET, signature_header
from tests.waiting import until

# In two parts, so that no line of this file that a traceback quotes holds it.
CANARY = "canary-" + "93b1d27e04c8"
BODY = b'{"event_group": "parcel", "name": "%s"}' % CANARY.encode()
ENCODED = b64encode(BODY).decode()[:40]

# What holds something that is not to be shown, whatever its type is.
TELLING = {"body", "content", "headers", "raw", "secret", "signature", "signatures", "api_key"}

# What an endpoint answered: nothing of the delivery is in it, and a failed test must show it.
ANSWERS = {"karla_receiver.request", "karla_receiver.testing.answers"}


def values() -> Iterator[type[Any]]:
    """Yield every struct, named tuple and dataclass of the package."""
    for module in pkgutil.walk_packages(karla_receiver.__path__, "karla_receiver."):
        if module.name in ANSWERS or module.name.endswith("__main__"):
            continue
        loaded = importlib.import_module(module.name)
        for value in list(vars(loaded).values()):
            # Not isinstance(), to which Django's lazy settings say something.
            if issubclass(type(value), type) and value.__module__ == module.name:
                yield value


def names_of(value: type[Any]) -> tuple[str, ...]:
    if issubclass(value, msgspec.Struct):
        return value.__struct_fields__
    if dataclasses.is_dataclass(value):
        return tuple(field.name for field in dataclasses.fields(value))
    return getattr(value, "_fields", ()) if issubclass(value, tuple) else ()


def canary_for(annotation: str) -> Any:
    """Return a value of a type that holds the canary."""
    if "Secret" in annotation:
        return Secret(CANARY)
    if "Mapping" in annotation or annotation in ("JSONObject", "Headers"):
        return {"name": CANARY}
    if "tuple[tuple[str, str]" in annotation or "list[tuple[str, str]]" in annotation:
        return [("karla-signature", CANARY)]
    if "tuple[" in annotation or "list[" in annotation:
        return [BODY]
    return BODY if "bytes" in annotation or annotation == "Body" else CANARY


def dummy_for(annotation: str, name: str) -> Any:
    if "int" in annotation or "float" in annotation:
        return 1
    if "url" in name:
        return "https://shop.example"
    return "text" if "str" in annotation else None


def annotations_of(value: type[Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in reversed(value.__mro__):
        found |= {name: str(text) for name, text in vars(each).get("__annotations__", {}).items()}
    return found


def made(value: type[Any]) -> Any:
    """Return one with the canary in all that tells of a delivery; None if nothing does."""
    annotations = annotations_of(value)
    telling = [name for name in names_of(value) if name in TELLING or "bytes" in annotations[name]]
    content = {
        name: canary_for(annotations[name])
        if name in telling
        else dummy_for(annotations[name], name)
        for name in names_of(value)
    }
    if not telling:
        return None
    if not dataclasses.is_dataclass(value):
        return value(**content)
    thing = object.__new__(value)  # without its checks
    for name, each in content.items():
        object.__setattr__(thing, name, each)
    return thing


def test_the_repr_of_no_value_shows_a_body_a_signature_or_a_secret() -> None:
    things = [thing for value in values() if (thing := made(value)) is not None]
    showing = [
        f"{type(thing).__module__}.{type(thing).__name__}"
        for thing in things
        if CANARY in repr(thing) or CANARY in str(thing)
    ]
    assert showing == []
    assert len(things) > 20


def frames_of(error: BaseException) -> list[traceback.FrameSummary]:
    """Return all frames of an error and of what caused it, with their local variables by repr.

    Without those of the tests and of Celery's call: a handler of the user's has what it was given,
    and so has a task.
    """
    frames: list[traceback.FrameSummary] = []
    pending: list[traceback.TracebackException | None] = [
        traceback.TracebackException.from_exception(error, capture_locals=True)
    ]
    while pending:
        report = pending.pop()
        if report is not None:
            frames += [each for each in report.stack if not is_given_it(each)]
            pending += [report.__cause__, *(report.exceptions or ())]
            pending += [] if report.__suppress_context__ else [report.__context__]
    return frames


def is_given_it(frame: traceback.FrameSummary) -> bool:
    is_task = frame.filename.endswith("celery/app/task.py") and frame.name == "__call__"
    return frame.filename == __file__ or is_task


Fail = Callable[[Path, BaseException], list[BaseException]]


def failing(receiver: Receiver, error: BaseException) -> Receiver:
    @receiver.on("*")
    def handle(event: object) -> None:
        raise error

    return receiver


def deliver(receiver: Receiver) -> list[BaseException]:
    """Deliver; return what was raised, if anything was, beside what was logged."""
    try:
        receiver.receive(Request("POST", signature_header(BODY), BODY))
    except BaseException as error:  # noqa: BLE001 - what is looked at
        return [error]
    return []


async def deliver_async(receiver: Receiver) -> list[BaseException]:
    try:
        await receiver.receive_async(Request("POST", signature_header(BODY), BODY))
    except BaseException as error:  # noqa: BLE001 - what is looked at
        return [error]
    return []


def in_a_request(folder: Path, error: BaseException) -> list[BaseException]:
    return deliver(failing(Receiver(SECRET), error))


def in_an_event_loop(folder: Path, error: BaseException) -> list[BaseException]:
    return asyncio.run(deliver_async(failing(Receiver(SECRET), error)))


def with_a_store(folder: Path, error: BaseException) -> list[BaseException]:
    return deliver(failing(Receiver(SECRET, idempotency=MemoryStore()), error))


def in_a_store(folder: Path, error: BaseException) -> list[BaseException]:
    store = MemoryStore()

    def claim(key: str, occurrence: str) -> Any:
        raise error

    store.claim = claim  # type: ignore[method-assign]
    return deliver(Receiver(SECRET, idempotency=store))


def in_an_inbox(folder: Path, error: BaseException) -> list[BaseException]:
    inbox = SQLiteInbox(folder / "karla.db", clock=lambda: 1_700_000_000.0)
    receiver = Receiver(SECRET, inbox=inbox)

    def fail() -> float:
        raise error

    inbox._clock = fail  # pyright: ignore[reportPrivateUsage]
    try:
        return deliver(receiver)
    finally:
        inbox.close()


def in_an_inbox_without_its_file(folder: Path, error: BaseException) -> list[BaseException]:
    inbox = SQLiteInbox(folder / "karla.db")
    receiver = Receiver(SECRET, inbox=inbox)
    deliver(receiver)
    (folder / "karla.db").unlink()
    found = deliver(receiver)
    inbox.close()
    return found


def in_a_store_without_its_file(folder: Path, error: BaseException) -> list[BaseException]:
    store = SQLiteStore(folder / "karla.db")
    receiver = Receiver(SECRET, idempotency=store)
    deliver(receiver)
    (folder / "karla.db").unlink()
    found = asyncio.run(deliver_async(receiver))
    store.close()
    return found


def in_a_worker(folder: Path, error: BaseException) -> list[BaseException]:
    inbox = SQLiteInbox(folder / "karla.db", max_attempts=1)
    receiver = failing(Receiver(SECRET, inbox=inbox), error)
    deliver(receiver)
    inbox.start(1)
    until(lambda: "failed" in states(folder / "karla.db").values())
    inbox.close()
    return []


def celery_work(app: Celery, inbox: CeleryInbox) -> list[BaseException]:
    """Have a task done that says what a delivery is, and one that does not."""
    signature = signature_header(BODY)["Karla-Signature"]
    content = {
        "body": b64encode(BODY).decode(),
        "headers": [["karla-signature", signature]],
        "received_at": time.time(),
        "key": "key",
        "occurrence": "",
    }
    found: list[BaseException] = []
    for delivery in (content, {**content, "received_at": CANARY}):
        try:
            app.tasks["karla_receiver.karla"]({"delivery": delivery})
        except BaseException as error:  # noqa: BLE001 - what is looked at
            found.append(error)
    inbox.close()
    return found


def celery_inbox(broker: str) -> tuple[Celery, CeleryInbox]:
    app = Celery("shop", broker=broker, set_as_current=False)
    return app, CeleryInbox(app, timeout=30, max_attempts=2)


def in_a_celery_worker(folder: Path, error: BaseException) -> list[BaseException]:
    app, inbox = celery_inbox("memory://")
    failing(Receiver(SECRET, inbox=inbox), error)
    return celery_work(app, inbox)


def without_a_broker(folder: Path, error: BaseException) -> list[BaseException]:
    app, inbox = celery_inbox("redis://127.0.0.1:1")
    receiver = failing(Receiver(SECRET, inbox=inbox), error)
    found = deliver(receiver)
    found += asyncio.run(deliver_async(receiver))
    return found + celery_work(app, inbox)


def at_a_broker_that_fails(folder: Path, error: BaseException) -> list[BaseException]:
    """Fail while the body is in the hands of the broker's client."""
    app, inbox = celery_inbox("memory://")
    receiver = failing(Receiver(SECRET, inbox=inbox), ValueError())

    def publish(*_: object, **__: object) -> None:
        raise OSError("connection reset")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kombu.messaging.Producer._publish", publish)
        found = deliver(receiver)
        found += asyncio.run(deliver_async(receiver))
        return found + celery_work(app, inbox)


PLACES: list[Fail] = [
    in_a_request,
    in_an_event_loop,
    with_a_store,
    in_a_store,
    in_an_inbox,
    in_an_inbox_without_its_file,
    in_a_store_without_its_file,
    in_a_worker,
    in_a_celery_worker,
    without_a_broker,
    at_a_broker_that_fails,
]
ERRORS = [ValueError, SystemExit, asyncio.CancelledError, StorageError]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_an_error_report_shows_nothing_of_a_delivery(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    place: Fail,
    error: type[BaseException],
) -> None:
    monkeypatch.setattr("karla_receiver.adapters.celery._PAUSE", 0)
    caplog.set_level(logging.DEBUG)
    found = place(tmp_path, error())
    found += [each.exc_info[1] for each in caplog.records if each.exc_info and each.exc_info[1]]
    shown = {
        f"{frame.filename}:{frame.lineno} {name}"
        for each in found
        for frame in frames_of(each)
        for name, value in (frame.locals or {}).items()
        if CANARY in value or ENCODED in value or "v1=" in value
    }
    assert found
    assert shown == set()
