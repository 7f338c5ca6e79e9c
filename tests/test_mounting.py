from __future__ import annotations

import re
from collections.abc import Callable
from posixpath import normpath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from karla_receiver.mounting import DEFAULT_PATH, may_lead_to, path_names


def by_rfc_3986(path: str) -> str:
    """Remove dots as section 5.2.4 does: what is empty is a part too."""
    kept: list[str] = []
    for part in path.split("/")[1:]:
        if part == "..":
            del kept[-1:]
        elif part != ".":
            kept.append(part)
    return "/" + "/".join(kept)


def by_stripping(path: str) -> str:
    """Drop parameters, blanks and what is left empty, and then remove dots."""
    return normpath(re.sub(r";[^/]*|[\x00-\x20\x7f\u200b]", "", path.replace("\\", "/")))


def by_cutting(path: str) -> str:
    """Take the path for a URL, which ends at '?' or '#'."""
    return normpath(re.split("[?#]", path)[0])


VIEW = path_names(DEFAULT_PATH.encode())
ODD = ["", ".", "x", "x;y", ";x", ".;", "..;", "?", "x?", "#", " ", "\x01", "\u200b", "\\", "a\\.."]
# What leads nowhere, to many a router: parts that are dropped, and names that are taken back.
DETOURS = st.lists(
    st.sampled_from([*ODD, *(f"{odd}/.." for odd in [*ODD, "webhooks", "karla"])]), max_size=3
)
PATHS = st.tuples(DETOURS, DETOURS, DETOURS).map(
    lambda detours: "/".join(["", *detours[0], "webhooks", *detours[1], "karla", *detours[2]])
)


@pytest.mark.parametrize("resolve", [normpath, by_rfc_3986, by_stripping, by_cutting])
@settings(max_examples=500)  # most lead elsewhere, and are as good as not drawn
@given(path=PATHS)
def test_whatever_a_router_resolves_to_the_view_is_known_for_it(
    resolve: Callable[[str], str], path: str
) -> None:
    is_known = may_lead_to(VIEW, path.encode(), b"")
    assert is_known or resolve(path) != DEFAULT_PATH


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/webhooks",
        "/karla",
        "/webhooks/karlas",
        "/webhooks/karla/refunds",
        "/webhooks/?/karla",
        "/webhooks/../refunds",
        "/karla/../webhooks",
        "/...",
    ],
)
def test_the_path_of_another_view_is_not(path: str) -> None:
    assert not may_lead_to(VIEW, path.encode(), b"")


@pytest.mark.parametrize(
    ("path", "root"),
    [
        ("/shop/webhooks/karla", ""),  # Django with FORCE_SCRIPT_NAME
        ("//x/webhooks/karla", ""),
        ("/apiwebhooks/karla", "/api"),  # Quart
        ("/apihttp://x/webhooks/karla", "/api"),
        ("/x/apiwebhooks/karla", "/api"),  # Litestar
        ("/api/webhooks/karla", "/api/"),
        ("/webhooks/karla", "/karla"),
    ],
)
def test_what_stands_before_the_path_may_be_where_an_app_is_mounted(path: str, root: str) -> None:
    assert may_lead_to(VIEW, path.encode(), root.encode())


def test_a_path_with_a_colon_may_be_a_url_or_not() -> None:
    assert may_lead_to(VIEW, b"/apix:webhooks/karla", b"/api")
    assert may_lead_to(path_names(b"/v1:karla"), b"/apiv1:karla", b"/api")


@pytest.mark.parametrize("path", ["", "/", "/api", "/apis", "/apikarla", "/api/webhooks"])
def test_below_a_root_the_path_of_another_view_is_not(path: str) -> None:
    assert not may_lead_to(VIEW, path.encode(), b"/api")


@pytest.mark.parametrize(
    ("path", "root", "expected"),
    [
        ("/", "", True),
        ("", "", True),
        ("/shop", "/shop", True),
        ("/shop/", "/shop", True),
        ("/orders", "", False),
        ("/orders", "/shop", False),
        ("/shop/orders", "/shop", False),
    ],
)
def test_a_view_at_the_root_is_led_to_by_no_names(path: str, root: str, expected: bool) -> None:
    assert may_lead_to([], path.encode(), root.encode()) is expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [("", False), ("/", False), ("/a", False), ("a", True), ("http://x/a", True), ("?", True)],
)
def test_what_has_no_slash_in_front_is_no_path(path: str, expected: bool) -> None:
    assert may_lead_to(VIEW, path.encode(), b"") is expected


def test_letters_are_compared_as_loosely_as_by_a_pattern_that_ignores_case() -> None:
    def folded(letter: str) -> list[str]:
        return path_names(f"/a{letter}".encode())

    # The letters that have a letter of ASCII for another case of theirs.
    for letter in [chr(code) for code in range(128, 0x3000)]:
        for plain in "aeikostz":
            if re.fullmatch(plain, letter, re.IGNORECASE):
                assert folded(letter) == folded(plain)
    assert folded("\u0131") == folded("\u0130") == folded("I")
