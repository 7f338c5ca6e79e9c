"""What the servers serve: a receiver for each attack at a path of its own, as ASGI, WSGI and Flask.

A request for /NAME/webhooks/karla goes to the receiver NAME, mounted at /NAME; /control/... tells
and changes what no delivery could. Imported by the servers, in their processes.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import resource
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from posixpath import normpath
from typing import Any
from urllib.parse import unquote

from flask import Flask

from karla_receiver import Event, Reason, Receiver, SignatureError
from karla_receiver.adapters import asgi, wsgi
from karla_receiver.adapters.flask import webhook
from karla_receiver.observing.logs import logger
from karla_receiver.views.paths import DEFAULT_PATH
from tests.attack_table import Case
from tests.servers.cases import SENT
from tests.servers.journal import Journal, ReasonsToJournal, serving
from tests.servers.live import ALIVE, CLOCKED, FAILING_ONCE, FORWARDED, OLD, ROTATING, SECRETS, SLOW

journal = Journal.of_this_server()
journal.write("made", "-")
logger.addHandler(ReasonsToJournal(journal))
logger.setLevel(logging.DEBUG)


def handler_of(name: str, action: str | None) -> Callable[[Event], object]:
    """Return a handler that writes its calls down, and then does what the case says."""

    def handler(event: Event) -> None:
        journal.write("called", name)
        if action == "raise SignatureError":
            raise SignatureError(Reason.NO_V1)
        if action == "raise MemoryError":
            raise MemoryError
        if action == "fail once" and not failed:
            failed.append(name)
            raise RuntimeError("the shop's database is away")
        if action == "take its time":
            time.sleep(0.02)

    async def asynchronous(event: Event) -> None:
        await asyncio.sleep(0)
        handler(event)

    failed: list[str] = []
    return asynchronous if action == "async def under WSGI" else handler


def receiver_of(
    name: str, secrets: Iterable[Any], clock: Callable[[], float], action: str | None = None
) -> Receiver:
    receiver = Receiver(*secrets, clock=clock)
    receiver.on("*")(handler_of(name, action))
    return receiver


def of_case(case: Case) -> Receiver:
    return receiver_of(case.id, case.secrets, lambda: case.now, case.http.get("handler"))


def clock_in_file() -> float:
    """Tell the time that a test wrote beside the journal."""
    return float((journal.path.parent / CLOCKED).read_text())


RECEIVERS = {case.id: of_case(case) for case in SENT} | {
    ALIVE: receiver_of(ALIVE, [OLD], time.time),
    ROTATING: receiver_of(ROTATING, [OLD], time.time),
    FAILING_ONCE: receiver_of(FAILING_ONCE, [OLD], time.time, "fail once"),
    FORWARDED: receiver_of(FORWARDED, [OLD], time.time),
    SLOW: receiver_of(SLOW, [OLD], time.time, "take its time"),
    CLOCKED: receiver_of(CLOCKED, [OLD], clock_in_file),
}


PROC = Path("/proc/self")


def state(tasks: int) -> dict[str, int]:
    """Count what a request could leave behind in this process; all but the first on Linux only."""
    told = {"process": os.getpid(), "tasks": tasks}
    if PROC.exists():
        told["descriptors"] = len(list((PROC / "fd").iterdir()))
        told["threads"] = len(list((PROC / "task").iterdir()))
        told["resident"] = int((PROC / "statm").read_text().split()[1]) * resource.getpagesize()
    return told


def control(path: str, tasks: int) -> bytes:
    """Answer /control/state, and /control/secrets/SET, which rotates."""
    subject, _, argument = path.removeprefix("/control/").partition("/")
    if subject == "secrets":
        RECEIVERS[ROTATING].replace_secrets(*SECRETS[argument])
    return json.dumps(state(tasks)).encode()


def view(path: str, event: object) -> bool:
    """Find the view as lenient routers would, and note whether it was given an event."""
    plain = re.sub(r";[^/]*|[\x00-\x20\x7f]", "", unquote(unquote(path)).replace("\\", "/"))
    found = {"/" + normpath(each).strip("/").casefold() for each in (path, plain)}
    is_found = DEFAULT_PATH in found
    if is_found:
        journal.write("viewed", FORWARDED, "unverified" if event is None else "verified")
    return is_found


# --- ASGI ----------------------------------------------------------------------------------------


async def asgi_not_found(scope: Any, receive: Any, send: Any) -> None:
    await asgi_answer(404, b"no webhook here", send)


async def asgi_answer(status: int, body: bytes, send: Any) -> None:
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def asgi_behind(scope: Any, receive: Any, send: Any) -> None:
    path = scope["path"].removeprefix(scope["root_path"])
    is_found = view(path, scope.get("karla.event"))
    await asgi_answer(200 if is_found else 404, b"the app behind", send)


ASGI = {name: asgi.KarlaMiddleware(asgi_not_found, found) for name, found in RECEIVERS.items()}
ASGI[FORWARDED] = asgi.KarlaMiddleware(
    asgi_behind, RECEIVERS[FORWARDED], DEFAULT_PATH, forward=True
)
ASGI_ALONE = asgi.KarlaApp(RECEIVERS[ALIVE])


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        await ASGI_ALONE(scope, receive, send)
        return
    name = scope["path"].split("/")[1]
    if name == "control":
        await asgi_answer(200, control(scope["path"], len(asyncio.all_tasks())), send)
    elif name not in ASGI:
        await asgi_not_found(scope, receive, send)
    else:
        serving.set(name)
        await ASGI[name]({**scope, "root_path": f"/{name}"}, receive, send)


# --- WSGI ----------------------------------------------------------------------------------------


def wsgi_answer(status: str, body: bytes, start_response: Any) -> list[bytes]:
    start_response(status, [("content-type", "text/plain"), ("content-length", str(len(body)))])
    return [body]


def wsgi_not_found(environ: Any, start_response: Any) -> list[bytes]:
    return wsgi_answer("404 Not Found", b"no webhook here", start_response)


def wsgi_behind(environ: Any, start_response: Any) -> list[bytes]:
    is_found = view(environ["PATH_INFO"], environ.get("karla.event"))
    status = "200 OK" if is_found else "404 Not Found"
    return wsgi_answer(status, b"the app behind", start_response)


WSGI = {name: wsgi.KarlaMiddleware(wsgi_not_found, found) for name, found in RECEIVERS.items()}


WSGI[FORWARDED] = wsgi.KarlaMiddleware(
    wsgi_behind, RECEIVERS[FORWARDED], DEFAULT_PATH, forward=True
)


def wsgi_app(environ: Any, start_response: Any) -> Iterable[bytes]:
    path: str = environ["PATH_INFO"]
    name = path.split("/")[1]
    if name == "control":
        return wsgi_answer("200 OK", control(path, 0), start_response)
    if name not in WSGI:
        return wsgi_not_found(environ, start_response)
    serving.set(name)
    mounted = {"SCRIPT_NAME": f"/{name}", "PATH_INFO": path[len(name) + 1 :]}
    return WSGI[name]({**environ, **mounted}, start_response)


# --- Flask ---------------------------------------------------------------------------------------

flask_app = Flask("shop")
flask_wsgi_app = flask_app.wsgi_app


def forwarded_or_flask(environ: Any, start_response: Any) -> Iterable[bytes]:
    is_forwarded = environ["PATH_INFO"].startswith(f"/{FORWARDED}/")
    return (wsgi_app if is_forwarded else flask_wsgi_app)(environ, start_response)


flask_app.wsgi_app = forwarded_or_flask  # type: ignore[method-assign]


def nothing(event: Event) -> None:
    """Leave it to the receiver's handlers."""


VIEWS = {name: webhook(receiver)(nothing) for name, receiver in RECEIVERS.items()}
METHODS = {"POST"} | {case.http.get("method", "POST").upper() for case in SENT}


@flask_app.route(f"/<name>{DEFAULT_PATH}", methods=sorted(METHODS), provide_automatic_options=False)
def receive(name: str) -> Any:
    serving.set(name)
    return VIEWS[name]()


@flask_app.get("/control/<path:path>")
def tell(path: str) -> bytes:
    return control(f"/control/{path}", 0)
