"""The program's commands are built once for all tests, not at every call."""

from __future__ import annotations

import functools
from collections.abc import Generator

import pytest
import typer.testing


@pytest.fixture(scope="session", autouse=True)
def _commands_built_once() -> Generator[None]:
    name = "_get_command"  # of Typer, which takes 60 ms for ours
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(typer.testing, name, functools.cache(getattr(typer.testing, name)))
        yield
