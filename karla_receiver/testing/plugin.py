"""The pytest plugin: fixtures that every test has, with nothing to import. See the docs.

pytest loads this module at the start of every run in an environment that has it: what the
fixtures need is imported when they are used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from karla_receiver.testing.clock import SettableClock
    from karla_receiver.testing.delivering import Deliverer
    from karla_receiver.testing.findings import SafetyReport

__all__ = [
    "assert_acknowledged",
    "assert_endpoint_is_safe",
    "assert_refused",
    "karla_clock",
    "karla_deliver",
    "karla_path",
    "karla_secret",
]


@pytest.fixture
def karla_secret() -> str:
    """Return the secret to sign with: define a fixture of this name to use your endpoint's."""
    return "karla-secret-for-tests"


@pytest.fixture
def karla_path() -> str:
    """Return your endpoint's path: define a fixture of this name if it is another one."""
    return "/webhooks/karla"


@pytest.fixture
def karla_clock() -> SettableClock:
    """Return a clock to give to your receiver: it stands still until the test moves it.

    In a test that uses it, `karla_deliver` signs by it.
    """
    from karla_receiver.testing.clock import SettableClock

    return SettableClock()


@pytest.fixture
def karla_deliver(
    karla_secret: str, karla_path: str, request: pytest.FixtureRequest
) -> Iterator[Deliverer]:
    """Return a function that signs an event, delivers it to an app or URL, and returns the answer.

    See `karla_receiver.testing.delivering.Deliverer`.
    """
    from karla_receiver.checks import wall_clock
    from karla_receiver.testing.delivering import Deliverer

    clock = wall_clock
    if "karla_clock" in request.fixturenames:
        clock = request.getfixturevalue("karla_clock")
    deliverer = Deliverer(karla_secret, path=karla_path, clock=clock)
    yield deliverer
    deliverer.close()


@pytest.fixture
def assert_acknowledged() -> Callable[[Any], None]:
    """Return `karla_receiver.testing.assert_acknowledged`."""
    from karla_receiver.testing.answers import assert_acknowledged

    return assert_acknowledged


@pytest.fixture
def assert_refused() -> Callable[..., None]:
    """Return `karla_receiver.testing.assert_refused`."""
    from karla_receiver.testing.answers import assert_refused

    return assert_refused


@pytest.fixture
def assert_endpoint_is_safe(karla_secret: str, karla_path: str) -> Callable[..., SafetyReport]:
    """Return `karla_receiver.testing.assert_endpoint_is_safe`, with your secret and path."""
    from karla_receiver.testing.safety import assert_endpoint_is_safe

    def check(target: Any, **options: Any) -> SafetyReport:
        __tracebackhide__ = True
        options.setdefault("secret", karla_secret)
        if not isinstance(target, str):
            options.setdefault("path", karla_path)
        return assert_endpoint_is_safe(target, **options)

    return check
