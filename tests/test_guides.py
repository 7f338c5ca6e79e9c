"""Runs what the guides show: every block, and a delivery to what it makes."""

from __future__ import annotations

import asyncio
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from aiohttp import ClientSession, web
from django.core.handlers.wsgi import WSGIHandler
from django.test.utils import override_settings
from markdown_it import MarkdownIt

from karla_receiver import Receiver, samples
from tests.asgi_server import knock_at, serve
from tests.doors import PATH, Knock, asgi_scope, run_wsgi, signed_knock, wsgi_environ
from tests.doors_aws_lambda import version_2
from tests.doors_django import routed_by
from tests.signing import DOCS_SECRET

DOCS = Path(__file__).parent.parent / "docs"
GUIDES = sorted((DOCS / "guides").glob("*.md"))
OWN = DOCS / "write-your-own-adapter.md"

# How an app is served, and the port where that is by itself.
SERVES = {
    "uvicorn shop:app": 8000,
    "gunicorn shop:app": 8000,
    "flask --app shop run": 5000,
    "quart --app shop run": 5000,
    "python shop.py": 8000,
    "python manage.py runserver": 8000,
}

# What each guide's programs make, and how it is asked: with deliveries, for statuses.
Ask: TypeAlias = Callable[[dict[str, Any], list[Knock]], list[int | None]]


def ask_asgi(names: dict[str, Any], knocks: list[Knock]) -> list[int | None]:
    return [knock_at(names["app"], knock).status for knock in knocks]


def ask_wsgi(names: dict[str, Any], knocks: list[Knock]) -> list[int | None]:
    return [run_wsgi(names["app"], wsgi_environ(knock))[0] for knock in knocks]


def ask_django(names: dict[str, Any], knocks: list[Knock]) -> list[int | None]:
    with routed_by(names["urlpatterns"]):
        return [run_wsgi(WSGIHandler(), wsgi_environ(knock))[0] for knock in knocks]


def ask_lambda(names: dict[str, Any], knocks: list[Knock]) -> list[int | None]:
    return [names["lambda_handler"](version_2(knock), None)["statusCode"] for knock in knocks]


def ask_aiohttp(names: dict[str, Any], knocks: list[Knock]) -> list[int | None]:
    async def post(session: ClientSession, url: str, knock: Knock) -> int:
        async with session.post(url, data=knock.body, headers=dict(knock.headers)) as answer:
            return answer.status

    async def ask() -> list[int | None]:
        runner = web.AppRunner(names["app"])
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}{PATH}"
        try:
            async with ClientSession() as session:
                return [await post(session, url, knock) for knock in knocks]
        finally:
            await runner.cleanup()

    return asyncio.run(ask())


ASK: dict[str, Ask] = {
    "aiohttp": ask_aiohttp,
    "asgi": ask_asgi,
    "aws_lambda": ask_lambda,
    "django": ask_django,
    "fastapi": ask_asgi,
    "flask": ask_wsgi,
    "quart": ask_asgi,
    "starlette": ask_asgi,
    "wsgi": ask_wsgi,
}


def genuine_and_forged(sample: str) -> list[Knock]:
    body = samples.read(sample)
    return [signed_knock(body, DOCS_SECRET), signed_knock(body, "another-secret")]


def blocks(guide: Path) -> list[str]:
    fences = [token for token in MarkdownIt().parse(guide.read_text()) if token.type == "fence"]
    assert {token.info for token in fences} <= {"python"}
    return [token.content for token in fences if token.info == "python"]


def run_alone(program: str) -> dict[str, Any]:
    """Run a block with nothing from those before it: it may be the only one that is copied."""
    names: dict[str, Any] = {"__name__": "guide"}
    exec(program, names)  # noqa: S102 - it is our own guide
    return names


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_a_guides_programs_work(
    guide: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KARLA_WEBHOOK_SECRET", DOCS_SECRET)
    *first, view, handlers = blocks(guide)
    ask = ASK[guide.stem]
    made: dict[str, Any] = {"INSTALLED_APPS": []}  # as the settings that a project begins with
    for program in first:
        exec(program, made)  # noqa: S102 - it is our own guide
    settings = {name: value for name, value in made.items() if name.isupper()}
    with override_settings(**settings):
        names = run_alone(view)
        assert ask(names, genuine_and_forged("shipment_delivered")) == [200, 401]
        names = run_alone(handlers)
        assert ask(names, genuine_and_forged("claim_created")) == [200, 401]

    shipment, claim = capsys.readouterr().out.splitlines()
    assert shipment == "delivered NT-20417"
    assert re.fullmatch(r"\S+ \S+", claim)


@pytest.mark.parametrize("guide", ["asgi", "wsgi"])
def test_an_app_that_keeps_its_view_still_serves_its_other_pages(guide: str) -> None:
    names = run_alone(blocks(DOCS / "guides" / f"{guide}.md")[-1])
    if guide == "asgi":
        status = serve(names["app"], asgi_scope(Knock(method="GET"), "/other"), iter([]))[0][
            "status"
        ]
    else:
        status = run_wsgi(names["app"], wsgi_environ(Knock(method="GET"), "/other"))[0]
    assert status == 200


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_a_guide_tells_how_to_send_it_a_delivery(guide: Path) -> None:
    text = guide.read_text()
    (url,) = re.findall(r"^    .*karla-receiver send .*--to (\S+)$", text, re.MULTILINE)
    serves = [command for command in SERVES if re.search(rf"^    .*{command}$", text, re.MULTILINE)]
    assert 'karla-receiver[cli]"\n' in text
    if guide.stem == "aws_lambda":  # which nothing serves but AWS
        assert (serves, url.startswith("https://")) == ([], True)
    else:
        (command,) = serves
        assert url == f"http://127.0.0.1:{SERVES[command]}{PATH}"


def names_of_own(old: str = "", new: str = "") -> dict[str, Any]:
    """Run the page on one's own adapter, with something in it changed."""
    names: dict[str, Any] = {"__name__": "guide"}
    for program in blocks(OWN):
        exec(program.replace(old, new), names)  # noqa: S102 - it is our own page
    return names


def test_the_adapter_of_the_page_works() -> None:
    names = names_of_own()
    names["test_the_webhook_is_safe"]()

    def view(request: Any, event: Any) -> tuple[int, list[Any], bytes]:
        return 202, [], b""

    own = names["webhook"](Receiver(DOCS_SECRET, require_https=True))(view)
    for secret, scheme, status in [
        (DOCS_SECRET, "https", 202),
        ("another-secret", "https", 401),
        (DOCS_SECRET, "http", 403),
    ]:
        knock = signed_knock(secret=secret)
        request = names["TinyRequest"]("POST", knock.headers, knock.body, scheme)
        assert own(request)[0] == status


@pytest.mark.parametrize(
    ("part", "fault"),
    [
        ("request.method", '"POST"'),
        ("request.headers", "dict(request.headers)"),
        ("request.body", "request.body.strip()"),
        ("response.status", "200"),
    ],
)
def test_the_test_of_the_page_finds_a_fault_in_its_adapter(part: str, fault: str) -> None:
    names = names_of_own(part, fault)
    with pytest.raises(AssertionError, match="the endpoint is not safe"):
        names["test_the_webhook_is_safe"]()


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_a_guide_fits_one_screen_and_tells_the_oldest_version(guide: Path) -> None:
    text = guide.read_text()
    extras = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())["project"]
    requirement = extras["optional-dependencies"].get(guide.stem)

    assert len(text.splitlines()) <= 80
    if requirement is not None:
        assert f" {requirement[0].partition('>=')[2]} or newer" in text


def test_every_framework_has_a_guide() -> None:
    assert {guide.stem for guide in GUIDES} == set(ASK)
