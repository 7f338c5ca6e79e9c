from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from posixpath import normpath
from time import process_time
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from karla_receiver import SignatureError
from karla_receiver.views.paths import DEFAULT_PATH, EVENT, ViewPath, below_root, require_event


def may_lead_to(view: str, path: str, root: str = "") -> bool:
    return ViewPath(view).matches("POST", path, root, "")


@pytest.mark.parametrize(
    ("path", "root", "below"),
    [
        ("/shop/hook", "/shop", "/hook"),
        ("/shop/hook", "/shop/", "/hook"),
        ("/SIX/hook", "/SIX", "/hook"),
        ("/shop", "/shop", ""),
        ("/shopping/hook", "/shop", "/shopping/hook"),
        ("/hook", "/shop", "/hook"),
        ("/hook", "", "/hook"),
    ],
)
def test_the_root_is_taken_off_where_the_path_has_it(path: str, root: str, below: str) -> None:
    assert below_root(path, root) == below


def test_letters_of_a_root_count_for_no_other_path() -> None:
    assert not may_lead_to("/xxxx", "/orders", root="/xxxx-shop")


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
    assert may_lead_to(DEFAULT_PATH, path) or resolve(path) != DEFAULT_PATH


@pytest.mark.parametrize(
    ("view", "path", "expected"),
    [
        # letters and digits of each part, in order
        ("/webhooks/karla", "/webhooks/karla", True),
        ("/webhooks/karla", "/WebHooks/KARLA/x.html", True),
        ("/webhooks/karla", "http://shop/webhooks/karla", True),
        ("/webhooks/karla", "webhooks/karla", True),
        ("/webhooks/karla", "/docs/our-webhooks-for-karla", True),
        ("/webhooks/karla", "/karla/webhooks", False),
        ("/webhooks/karla", "/webhooks/kar", False),
        ("/webhooks/karla", "/webhook/karla", False),
        ("/karla_hook", "/karla-hook", True),
        ("/karla/arla", "/karla", False),
        ("/v1/karla", "/v1/karla", True),
        ("/v1/karla", "/v2/karla", False),
        # percent-encoding
        ("/webhooks/karla", "/webhooks%2Fkarla", True),
        ("/webhooks/karla", "/webhooks/%6Barla", True),
        ("/webhooks/karla", "/webhooks/%256Barla", True),
        ("/webhooks/karla", "/webhooks/%25256Barla", True),
        ("/webhooks/karla", "/webhooks/%u006Barla", True),
        ("/webhooks/karla", "/webhooks/%25%36%42arla", True),
        ("/webhooks/karla", "/webhooks/k%FFarla", True),
        ("/webhooks/karla", "/webhooks/k%arla", True),
        ("/abc", "/%abc", True),  # the letters count decoded and as they came
        ("/webhooks/karla", "/" + "%25" * 9 + "25" * 9 + "41", True),  # no end of decoding in sight
        ("/webhooks/karla", "/save/100%", False),
        ("/webhooks/karla", "/save/100%2525", False),
        # other letters and digits
        ("/webhooks/karla", "/webhooks/\uff2barla", True),
        ("/webhooks/karla", "/webhooks/\U0001d40aarla", True),
        ("/webhooks/karla", "/webhooks/\u212aarla", True),
        ("/webhooks/karla", "/webhooks/k\u00e4rla", True),
        ("/webhooks/karla", "/webhooks/ka\u0308rla", True),
        ("/webhooks/karla", "/webhook\u017f/karla", True),
        ("/webhooks/karla", "/webhooks/k\u200barla", True),
        ("/webhooks/karla", "/webhooks/k\udcffarla", True),
        ("/v1/karla", "/v\u0661/karla", True),
        ("/v1/karla", "/v\u00b9/karla", True),
        ("/größe", "/GRÖẞE", True),
        ("/größe", "/groesse", False),
        ("/\u1f80", "/\u03b1\u0313\u0345", True),  # an alpha with an iota below it, decomposed
        ("/配送", "/x-配-送", True),
        ("/配送", "/products", False),
        # a view at the root may be led to by everything
        ("/", "/products", True),
        ("/", "", True),
    ],
)
def test_a_path_may_lead_to_a_view_if_it_holds_its_letters_and_digits(
    view: str, path: str, expected: bool
) -> None:
    assert may_lead_to(view, path) is expected
    assert may_lead_to(view, quote(path.encode("utf-8", "surrogateescape"))) is expected


@pytest.mark.parametrize(
    ("view", "path", "root", "expected"),
    [
        ("/webhooks/karla", "/webhooks/karla", "/shop", True),
        ("/webhooks/karla", "/products", "/shop", False),
        # Frameworks that do not cut a root off see both.
        ("/webhooks/karla", "/karla", "/webhooks", True),
        ("/webhooks/karla", "/products", "/webhooks", False),
        ("/webhooks/karla", "hooks/karla", "/web", True),
        # A root that holds the letters by accident closes nothing.
        ("/karla", "/products", "/karla-shop", False),
        ("/karla", "", "/karla-shop", False),
        ("/karla", "/karla", "/karla-shop", True),
        ("/webhooks/karla", "/karla", "/webhooks/karlas", False),
        # A root that is the view's path is the view.
        ("/webhooks/karla", "", "/webhooks/karla", True),
        ("/webhooks/karla", "/x", "/shop/webhooks/karla/", True),
    ],
)
def test_the_mount_point_counts_unless_it_holds_the_views_letters_by_accident(
    view: str, path: str, root: str, expected: bool
) -> None:
    assert may_lead_to(view, path, root) is expected


def test_a_request_without_a_verified_event_is_told_what_it_lacks() -> None:
    with pytest.raises(SignatureError) as refusal:
        require_event({EVENT: object()})
    assert str(refusal.value) == (
        "missing_signature: the request has no verified event: it has not come through"
        " KarlaMiddleware with forward=True and the path of this view"
    )


def test_letters_are_compared_as_loosely_as_by_a_pattern_that_ignores_case() -> None:
    # The letters that have a letter of ASCII for another case of theirs.
    for letter in [chr(code) for code in range(128, 0x3000)]:
        for plain in "aeikostz":
            if re.fullmatch(plain, letter, re.IGNORECASE):
                assert may_lead_to(f"/x{plain}", f"/x{letter}")


@given(path=st.text(), view=st.text(st.characters(categories=["L", "N"]), min_size=1))
def test_a_path_is_the_same_in_each_normal_form_and_case(path: str, view: str) -> None:
    for changed in (view, view.upper(), view.lower(), unicodedata.normalize("NFD", view)):
        assert may_lead_to(f"/{view}", f"/{path}/{changed}")


@pytest.mark.parametrize(
    "path",
    [
        "/" + "\u0315" * 11_000 + "\u0300" * 11_000,  # marks that normalisation sorts
        "/" + "%25" * 20_000 + "41",
        "/" + "webhooks" * 8_000,
        "/" + "\ufdfa" * 20_000,  # 18 letters each, decomposed
    ],
    ids=["marks", "percents", "names", "ligatures"],
)
def test_a_long_path_costs_no_seconds(path: str) -> None:
    started = process_time()
    may_lead_to(DEFAULT_PATH, path)
    assert process_time() - started < 1, "some hundredths; as the square of the length, 5 s"
