"""How it is called, and who loads it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from karla_receiver import ConfigurationError
from karla_receiver.explain import explain

WRONG_USE: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "no secret": (lambda: explain(b"", None), ConfigurationError, "no secret given"),
    "an empty secret": (
        lambda: explain(b"", None, "x", " \n"),
        ConfigurationError,
        "secret 2 is empty",
    ),
    "no text": (lambda: explain(b"", None, None), ConfigurationError, "secret 1 is None"),  # type: ignore[arg-type]
    "another without text": (
        lambda: explain(b"", None, "x", others={"old": ""}),
        ConfigurationError,
        "'old' is empty",
    ),
    "a body of text": (lambda: explain("", None, "x"), TypeError, "must be bytes"),  # type: ignore[arg-type]
    "a header of another type": (lambda: explain(b"", [5], "x"), TypeError, "not int"),  # type: ignore[list-item]
    "a bad tolerance": (
        lambda: explain(b"", None, "x", tolerance=-1),
        ConfigurationError,
        "tolerance",
    ),
    "a time that is none": (
        lambda: explain(b"", None, "x", now=float("nan")),
        ConfigurationError,
        "now must be unix seconds",
    ),
    "a time beyond all": (
        lambda: explain(b"", None, "x", now=10**400),
        ConfigurationError,
        "now must be unix seconds",
    ),
    "a time of another type": (
        lambda: explain(b"", None, "x", now="1"),  # type: ignore[arg-type]
        ConfigurationError,
        "now must be unix seconds",
    ),
}


@pytest.mark.parametrize(("call", "kind", "message"), WRONG_USE.values(), ids=WRONG_USE)
def test_wrong_use_is_told(call: Callable[[], Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()


def test_the_package_does_not_load_it() -> None:
    program = "import sys, karla_receiver; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert "karla_receiver.signature" in run.stdout.decode()
    assert "karla_receiver.explain" not in run.stdout.decode()
