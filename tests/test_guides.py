"""Runs what the guides show: every block, and a delivery to what it makes."""

from __future__ import annotations

import re
import tomllib
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from karla_receiver import Receiver, samples
from tests.asgi_server import serve
from tests.doors import PATH, Knock, asgi_scope, run_wsgi, signed_knock, wsgi_environ
from tests.frameworks.chosen import FRAMEWORKS
from tests.frameworks.contract import Ask, ask_asgi, ask_wsgi
from tests.signing import DOCS_SECRET

DOCS = Path(__file__).parent.parent / "docs"
# But for the page of recipes, which test_other_frameworks.py runs.
GUIDES = sorted({*(DOCS / "guides").glob("*.md")} - {DOCS / "guides" / "other-frameworks.md"})
OWN = DOCS / "write-your-own-adapter.md"

# How what a guide's programs make is asked, and by which command it is served, at which port.
ASK: dict[str, Ask] = {"asgi": ask_asgi, "wsgi": ask_wsgi}
SERVES: dict[str, tuple[str, int] | None] = {
    "asgi": ("uvicorn shop:app", 8000),
    "wsgi": ("gunicorn shop:app", 8000),
}
for _name, _framework in FRAMEWORKS.items():
    ASK[_name], SERVES[_name] = _framework.ask, _framework.serves


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
    # Django's settings come second on the page.
    *first, view, handlers = sorted(blocks(guide), key=lambda block: "INSTALLED_APPS" not in block)
    ask = ASK[guide.stem]
    # As the settings that a project begins with.
    made: dict[str, Any] = {"__name__": "guide", "INSTALLED_APPS": []}
    for program in first:
        exec(program, made)  # noqa: S102 - it is our own guide
    settings = {name: value for name, value in made.items() if name.isupper()}
    framework = FRAMEWORKS.get(guide.stem)
    with nullcontext() if framework is None else framework.configured(settings):
        names = run_alone(view)
        assert ask(names, genuine_and_forged("shipment_delivered")) == [200, 401]
        names = run_alone(handlers)
        assert ask(names, genuine_and_forged("claim_created")) == [200, 401]

    shipment, claim = capsys.readouterr().out.splitlines()
    assert shipment == "delivered NT-20417"
    assert re.fullmatch(r"\S+ \S+", claim)


@pytest.mark.skipif("fastapi" not in FRAMEWORKS, reason="FastAPI is not installed")
def test_fastapis_programs_are_in_its_openapi() -> None:
    for program in blocks(DOCS / "guides" / "fastapi.md"):
        paths = run_alone(program)["app"].openapi()["paths"]
        assert "Karla-Signature" in str(paths[PATH]["post"]["parameters"])


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
    commands = {served[0] for served in SERVES.values() if served is not None}
    serves = [each for each in commands if re.search(rf"^    .*{each}$", text, re.MULTILINE)]
    assert 'karla-receiver[cli]"\n' in text
    served = SERVES[guide.stem]
    if served is None:
        assert (serves, url.startswith("https://")) == ([], True)
    else:
        command, port = served
        assert (serves, url) == ([command], f"http://127.0.0.1:{port}{PATH}")


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
