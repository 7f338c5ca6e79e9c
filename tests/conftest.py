from __future__ import annotations

import gc
import os
import signal
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

from karla_receiver.sqlite import file, forking, writer
from tests.receiving import Receive, receive_async, receive_sync
from tests.waiting import PATIENCE_SECONDS

# A slow machine is no failure: nothing here is judged by the time it takes. Each run draws the same
# examples, so the same code always passes or always fails. `nox -s properties` draws random ones.
settings.register_profile(
    "whole", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("default", settings.get_profile("whole"), max_examples=25)


def pytest_configure(config: pytest.Config) -> None:
    """Draw fewer examples where the slow tests are left out too."""
    # A shell has SIGINT ignored by what it starts in the background, and by all its children.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    settings.load_profile("default" if config.option.markexpr == "not slow" else "whole")
    if "KARLA_EXAMPLES" in os.environ:
        number = int(os.environ["KARLA_EXAMPLES"])
        settings.register_profile("random", derandomize=False, max_examples=number)
        settings.load_profile("random")


@pytest.fixture(scope="session", autouse=True)
def _patient_files() -> Generator[None]:
    """Have SQLite files waited for as long as a busy machine may need. A few tests ask for less."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file, "BUSY_SECONDS", PATIENCE_SECONDS)
        patch.setattr(writer, "_PATIENCE_SECONDS", PATIENCE_SECONDS)
        patch.setattr(forking, "_PATIENCE_SECONDS", PATIENCE_SECONDS)
        yield


def pytest_collection_finish() -> None:
    """Have no garbage collection look at the cases and imports: they stay, and are many."""
    gc.collect()
    gc.freeze()


@pytest.fixture(params=[receive_sync, receive_async], ids=["receive", "receive_async"])
def receive(request: pytest.FixtureRequest) -> Receive:
    """The two runners of the one path."""
    chosen: Receive = request.param
    return chosen


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI, fail a run in which a test was skipped: what did not run has not passed."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
