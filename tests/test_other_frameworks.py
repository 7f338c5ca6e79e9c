"""Runs the recipes of the guide on other frameworks, each as its users arrange it."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest

from karla_receiver.testing.clients import exchange_asgi
from tests.doors import (
    PATH,
    Knock,
    asgi_scope,
    logged_reasons,
    run_wsgi,
    signed_knock,
    wsgi_environ,
)
from tests.servers.commands import deliver, started
from tests.signing import DOCS_SECRET
from tests.test_docs import DOCS, blocks

GUIDE = DOCS / "guides" / "other-frameworks.md"
FIRST, *RECIPES = [block.content for block in blocks(GUIDE) if block.language == "python"]

# What is asked, at which path; returns the status and the body.
Ask = Callable[[dict[str, Any], Knock, str], tuple[int | None, bytes]]


def over_asgi(names: dict[str, Any], knock: Knock, path: str) -> tuple[int | None, bytes]:
    start, *rest = asyncio.run(lived(names["app"], knock, path))
    return start["status"], b"".join(message.get("body", b"") for message in rest)


async def lived(app: Any, knock: Knock, path: str) -> list[Any]:
    """Start an app as a server does, send it a request, and stop it; return what it sent."""
    told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    living = asyncio.ensure_future(
        app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, told.get, heard.put)
    )
    await told.put({"type": "lifespan.startup"})
    assert (await heard.get())["type"] == "lifespan.startup.complete"
    scope = {**asgi_scope(knock, path), "server": ("testserver", 80), "state": {}}
    whole = {"type": "http.request", "body": knock.body, "more_body": False}
    sent = await exchange_asgi(app, scope, iter([whole]))
    await told.put({"type": "lifespan.shutdown"})
    await living
    return sent


def over_wsgi(names: dict[str, Any], knock: Knock, path: str) -> tuple[int | None, bytes]:
    status, _, body = run_wsgi(names["app"], wsgi_environ(knock, path))
    return status, body


def in_azure(names: dict[str, Any], knock: Knock, path: str) -> tuple[int | None, bytes]:
    """Call the function that has the route, as Azure's worker does."""
    azure: Any = import_module("azure.functions")
    name = {PATH: "karla", "/": "index"}[path]
    if "functions" not in names:  # which is to be asked once, as the worker does
        names["functions"] = names["app"].get_functions()
    (function,) = [each for each in names["functions"] if each.get_function_name() == name]
    request = azure.HttpRequest(
        method=knock.method,
        url=f"https://shop.azurewebsites.net/api{path}",
        headers=dict(knock.headers),
        body=knock.body,
    )
    view = function.get_user_function()
    if name == "index":
        return 200, view(request).encode()
    answer = asyncio.run(view(request, None))
    return answer.status_code, answer.get_body()


def in_google_cloud(names: dict[str, Any], knock: Knock, path: str) -> tuple[int | None, bytes]:
    """Ask the app that the functions framework makes of main.py."""
    framework: Any = import_module("functions_framework")
    client = framework.create_app("karla", "main.py").test_client()
    answer = client.open(path, method=knock.method, headers=knock.headers, data=knock.body)
    return answer.status_code, answer.get_data()


class Recipe(NamedTuple):
    program: str
    ask: Ask
    file: str = "shop.py"


def named(name: str, ask: Ask, file: str = "shop.py") -> Recipe:
    (program,) = [each for each in RECIPES if re.search(rf"^(from|import) {name}\b", each, re.M)]
    return Recipe(program, ask, file)


ALL = {
    "litestar": named("litestar", over_asgi),
    "falcon": named(r"falcon$", over_wsgi),
    "falcon, asgi": named("falcon.asgi", over_asgi),
    "sanic": named("sanic", over_asgi),
    "bottle": named("bottle", over_wsgi),
    "pyramid": named(r"pyramid.config", over_wsgi),
    "azure": named(r"azure.functions", in_azure, "function_app.py"),
    "google": named("functions_framework", in_google_cloud, "main.py"),
}


def test_the_recipes_are_those_of_the_page() -> None:
    assert sorted(recipe.program for recipe in ALL.values()) == sorted(RECIPES)


@pytest.fixture(name="folder")
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the folder of a project, with the page's webhooks.py, and go there."""
    (tmp_path / "webhooks.py").write_text(FIRST)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(logging.root, "handlers", [])  # to which Litestar adds its own
    for name in ("webhooks", *(Path(recipe.file).stem for recipe in ALL.values())):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def made(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run a recipe's program, and return its names. Skips the test without the framework."""
    recipe = ALL[name]
    pytest.importorskip(
        re.split(r"[^a-z_]", recipe.program.removeprefix("from ").removeprefix("import "))[0]
    )
    if name == "sanic":
        # Or it would refuse a second app of one name in a process.
        monkeypatch.setattr(import_module("sanic").Sanic, "test_mode", True)
    file = folder / recipe.file
    file.write_text(recipe.program)
    return vars(import_module(file.stem))


# Those that take long to import.
SLOW = {"litestar", "sanic"}
EACH = [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in ALL]


@pytest.mark.parametrize("name", EACH)
def test_a_genuine_delivery_is_handled_and_a_forged_one_refused(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names, ask = made(name, folder, monkeypatch), ALL[name].ask
    with logged_reasons() as reasons:
        assert ask(names, signed_knock(secret=DOCS_SECRET), PATH) == (200, b'{"status":"success"}')
    handled = lines_of_handlers(capsys)
    with logged_reasons() as refused:
        assert ask(names, signed_knock(secret="another-secret"), PATH)[0] == 401

    assert (reasons, refused) == ([], ["signature_mismatch"])
    assert (len(handled), lines_of_handlers(capsys)) == (1, [])


def lines_of_handlers(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return what the handlers of the page have printed; Sanic prints lines of its own."""
    printed = {"delivered NT-20417", "shipments/delivered/SUCCESSFULLY_DELIVERED"}
    return [line for line in capsys.readouterr().out.splitlines() if line in printed]


@pytest.mark.parametrize("name", EACH[:-1])  # Google's function takes every path
def test_the_other_routes_of_the_app_are_served_as_before(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = made(name, folder, monkeypatch)
    with logged_reasons() as reasons:
        assert ALL[name].ask(names, Knock(method="GET"), "/") == (200, b"the shop")
    assert reasons == []


# --- what the page says beside its recipes -------------------------------------------------------


def test_a_function_in_google_cloud_takes_a_delivery_at_every_path(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = made("google", folder, monkeypatch)
    for path in ("/", "/any/other"):
        assert in_google_cloud(names, signed_knock(secret=DOCS_SECRET), path)[0] == 200
        assert in_google_cloud(names, Knock(method="GET"), path)[0] == 405


def test_a_function_in_google_cloud_takes_a_receiver_with_handlers(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = made("google", folder, monkeypatch)
    main = folder / "main.py"
    program = main.read_text().replace('"your-webhook-secret"', "receiver")
    main.write_text(
        program.replace("\nfrom karla", "\nfrom webhooks import receiver\nfrom karla", 1)
    )
    assert in_google_cloud(names, signed_knock(secret=DOCS_SECRET), PATH)[0] == 200
    assert len(lines_of_handlers(capsys)) == 2


@pytest.mark.slow
def test_litestar_s_csrf_protection_leaves_out_the_path_of_the_page(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    litestar = pytest.importorskip("litestar")
    from litestar.config.csrf import CSRFConfig

    (pattern,) = re.findall(r'`exclude=\["(.*?)"\]`', GUIDE.read_text())
    handlers = [made("litestar", folder, monkeypatch)["karla"]]
    for exclude, status in [(None, 403), ([pattern], 200)]:
        config = CSRFConfig(secret="of-another-kind", exclude=exclude)
        names = {"app": litestar.Litestar(handlers, csrf_config=config)}
        assert over_asgi(names, signed_knock(secret=DOCS_SECRET), PATH)[0] == status


# --- over servers --------------------------------------------------------------------------------


def test_bottle_s_default_server_does_not_tell_the_end_of_a_chunked_body(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Quiet(WSGIRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Write nothing."""

    names = made("bottle", folder, monkeypatch)
    with make_server("127.0.0.1", 0, names["app"], handler_class=Quiet) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        try:
            statuses = [deliver(server.server_port, is_chunked=each) for each in (True, False)]
        finally:
            server.shutdown()
            serving.join()
    assert statuses == [411, 401]


@pytest.mark.slow
def test_sanic_s_own_server_reads_a_body_no_further_than_the_limit(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made("sanic", folder, monkeypatch)
    command = "-m sanic shop:app --single-process --port {port}"
    with started(folder, command) as server:
        assert server.get() == (200, b"the shop"), server.log
        assert server.deliver(secret=DOCS_SECRET) == 200
        assert server.deliver(secret=DOCS_SECRET, is_chunked=True) == 200
        assert server.deliver(secret="another-secret") == 401
        assert server.deliver(b"x" * 1_048_577, is_chunked=True) == 413
        assert server.deliver(b"x" * 1_048_577) == 413


@pytest.mark.slow
def test_the_functions_framework_serves_the_function_by_its_own_command(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made("google", folder, monkeypatch)
    command = "-m functions_framework --target karla --host 127.0.0.1 --port {port}"
    with started(folder, command) as server:
        assert server.deliver(secret=DOCS_SECRET) == 200, server.log
        assert server.deliver(secret=DOCS_SECRET, is_chunked=True) == 200
        assert server.deliver(secret="another-secret") == 401
