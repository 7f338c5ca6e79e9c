"""With forward=True, no spelling of a path leads to the view of any of these apps unverified."""

from __future__ import annotations

from itertools import product
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

import pytest

from karla_receiver import Receiver
from karla_receiver.adapters import asgi, wsgi
from tests.adapters.lax_routers import ROUTERS, Note, Router
from tests.asgi_server import serve
from tests.doors import asgi_scope, run_wsgi, signed_knock, wsgi_environ
from tests.signing import BODY, SECRET

EVERY_ROUTER = pytest.mark.parametrize("router", ROUTERS.values(), ids=ROUTERS)
# Where the app is mounted; with a "!" in front if the server's path leaves that out, which only
# servers of ASGI do differently.
EVERYWHERE = pytest.mark.parametrize(
    ("router", "root"),
    [
        (router, root)
        for router in ROUTERS.values()
        for root in ("", "/karla-shop", *["!/karla-shop"] * router.is_asgi)
    ],
    ids=lambda given: given.name if isinstance(given, Router) else str(given),
)

BEFORE = ["/", "//", "/./", "/x/../", "/;x/", "/@@", "/shop/", "http://shop/", "x:", "", "/%2e/"]
BETWEEN = ["/", "//", "/./", "/x/../", "\\", "%2F", "%252F", "%5C", "/;v/", "/@@", "/%20/", ";v/"]
AFTER = [
    *("", "/", "//", "/x", "X", ".html", ".json", ";v=1", "?x", "%3Fx", "#x", "%23x", "%20", "%0A"),
    *("%00", "\\", "%5C", "%2F", "%252F", "+", "-", "_", "~", "@", ":80", "/..;/x", "%FF", "/x/.."),
]


def other_letters(name: str) -> list[str]:
    """Write a name in letters that some router might take for those it has."""
    first, rest = name[0], name[1:]
    return [
        name.upper(),
        name.title(),
        f"%{ord(first):02x}{rest}",
        f"%25{ord(first):02x}{rest}",
        f"%2525{ord(first):02x}{rest}",
        f"%u{ord(first):04x}{rest}",
        chr(ord(first) + 0xFEE0) + rest,  # as wide as a Chinese character
        name.replace("k", "\u212a"),
        name.replace("s", "\u017f"),
        name.replace("a", "a\u0308"),
        f"{first}\u200b{rest}",
        f"{first}%AD{rest}",
        name.replace("_", "-"),
        name.replace("_", "."),
    ]


def spellings(view: str) -> list[str]:
    """Return paths that some router or other takes for that of a view, as sent by a client."""
    names = view.removeprefix("/").split("/")
    usual = "/".join(names)
    combined = [
        *(f"{before}{usual}{after}" for before, after in product(BEFORE, AFTER)),
        *(f"/{between.join(names)}{after}" for between, after in product(BETWEEN, AFTER)),
    ]
    letters = [f"/{'/'.join(each)}" for each in zip(*map(other_letters, names), strict=True)]
    return list(dict.fromkeys([*combined, *letters]))


def answer(app: Any, is_asgi: bool, path: str, root: str, **knocked: Any) -> int:
    """Send a request to app as a server does that decodes a path once; return the status."""
    knock = signed_knock(**knocked)
    target, mount = path.partition("?")[0], root.removeprefix("!")
    if is_asgi:
        told = unquote(target if root.startswith("!") else mount + target, errors="replace")
        scope = {**asgi_scope(knock), "path": told, "root_path": mount}
        whole = {"type": "http.request", "body": BODY, "more_body": False}
        sent = serve(app, scope, iter([whole]))
        status: int = sent[0]["status"]
        return status
    environ = {**wsgi_environ(knock), "SCRIPT_NAME": mount, "RAW_URI": mount + path}
    environ["PATH_INFO"] = unquote_to_bytes(target).decode("latin-1")
    return run_wsgi(app, environ)[0]


def wrapped(router: Router, note: Note) -> Any:
    middleware: Any = asgi.KarlaMiddleware if router.is_asgi else wsgi.KarlaMiddleware
    return middleware(router.make(note), Receiver(SECRET), router.view, forward=True)


def reaches(router: Router, path: str, root: str) -> bool:
    """Return whether the app by itself takes a path for that of its view."""
    noted: list[Any] = []
    try:
        answer(router.make(noted.append), router.is_asgi, path, root)
    except Exception:  # noqa: BLE001 - what an app makes of a broken path is its own affair
        return False
    return bool(noted)


@pytest.mark.slow
@EVERYWHERE
def test_nothing_unsigned_reaches_a_view(router: Router, root: str) -> None:
    noted: list[Any] = []
    app = wrapped(router, noted.append)
    paths = [*spellings(router.view), str(router.unlisted)]
    statuses = {path: answer(app, router.is_asgi, path, root, secret="another") for path in paths}
    assert noted == []
    assert {path for path, status in statuses.items() if status != 401} == set()
    assert len(paths) > 300


@EVERY_ROUTER
def test_each_router_takes_more_than_a_list_of_spellings_could_hold(router: Router) -> None:
    assert reaches(router, router.view, "")
    assert reaches(router, str(router.unlisted), "")
    assert not reaches(router, "/products", "")


@EVERYWHERE
def test_a_genuine_delivery_reaches_the_view_with_its_event(router: Router, root: str) -> None:
    noted: list[Any] = []
    app = wrapped(router, noted.append)
    answer(app, router.is_asgi, router.view, root)
    answer(app, router.is_asgi, str(router.unlisted), "")
    assert all(given["karla.event"].order_number == "NT-20417" for given in noted)
    assert len(noted) >= 1


PAGES = ["/", "/products", "/webhooks", "/karla", "/karla/webhooks", "/hook", "/a%2Fb", "/%2525"]


@EVERYWHERE
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_apps_other_pages_answer_as_without_the_middleware(
    router: Router, root: str, method: str
) -> None:
    noted: list[Any] = []
    bare, ours = router.make(noted.append), wrapped(router, noted.append)
    for page in PAGES:
        alone, behind = (
            answer(app, router.is_asgi, page, root, method=method) for app in (bare, ours)
        )
        assert alone == behind, page
    assert noted == []
