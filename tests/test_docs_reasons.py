"""Checks that every reason has its page in docs/reasons, and that each tells the truth."""

from __future__ import annotations

import re
from http import HTTPStatus
from pathlib import Path

import pytest

from karla_receiver import Reason
from karla_receiver.errors import STATUS
from karla_receiver.request import REFUSALS

DOCS = Path(__file__).parent.parent / "docs"
SECTIONS = ["What it means", "What the sender sees", "Likely causes", "What to do"]


def page_of(reason: Reason) -> str:
    return (DOCS / "reasons" / f"{reason}.md").read_text()


def test_every_reason_has_a_page_and_every_page_a_reason() -> None:
    pages = {page.stem for page in (DOCS / "reasons").glob("*.md")}
    assert pages == {*map(str, Reason), "index"}


@pytest.mark.parametrize("reason", Reason)
def test_the_page_of_a_reason_tells_the_four_things(reason: Reason) -> None:
    title, *sections = re.findall(r"^#+ (.+)$", page_of(reason), re.MULTILINE)
    assert title == str(reason)
    assert sections == SECTIONS


@pytest.mark.parametrize("reason", Reason)
def test_the_page_of_a_reason_shows_the_answer_that_is_given(reason: Reason) -> None:
    seen = page_of(reason).partition("## What the sender sees")[2].partition("##")[0]
    (status,) = re.findall(r"\*\*(.+?)\*\*", seen)
    body = re.search(r"`(\{.+?\})`", seen.replace("\n", " "))

    assert status == ("\u2013" if STATUS[reason] is None else str(STATUS[reason]))
    if reason in REFUSALS:
        assert body is not None
        # Python 3.13 took over the name that RFC 9110 gives to 413.
        phrase = HTTPStatus(413).phrase.encode()
        assert body[1].encode() == REFUSALS[reason].body.replace(phrase, b"Content Too Large")
        extra = {
            header for header, _ in REFUSALS[reason].headers if not header.startswith("content")
        }
        assert all(header in seen.lower() for header in extra)


def test_the_index_leads_to_each_reason_once() -> None:
    index = (DOCS / "reasons" / "index.md").read_text()
    linked = re.findall(r"\[`(\w+)`\]\((\w+)\.md\)", index)

    assert sorted(linked) == sorted((str(reason), str(reason)) for reason in Reason)


def test_the_table_of_answers_is_the_one_in_the_code() -> None:
    page = (DOCS / "concepts" / "answers.md").read_text()
    rows = re.findall(r"^\| (\d{3}|\u2013) \| (.+?) \| (.+) \|$", page, re.MULTILINE)
    told = [
        (reason, linked, None if status == "\u2013" else int(status))
        for status, reasons, _ in rows
        for reason, linked in re.findall(r"\[`(\w+)`\]\(\.\./reasons/(\w+)\.md\)", reasons)
    ]

    assert sorted(told) == sorted((str(r), str(r), status) for r, status in STATUS.items())
    assert rows[0] == (
        "200",
        "\u2013",
        "handled, stored, a duplicate of one handled, or an event that no handler wants",
    )
