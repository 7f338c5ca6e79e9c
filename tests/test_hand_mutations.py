"""Mistakes that must not pass: each made in a copy of the package, whose tests must then fail.

The short form of mutation testing; CONTRIBUTING.md has the long one, which makes every small change
that a program can think of, but none outside of functions.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

import karla_receiver

PACKAGE = Path(karla_receiver.__file__).parent
TESTS = Path(__file__).parent


class Mistake(NamedTuple):
    """A line, what it is changed to, and the tests (below tests/) that must notice."""

    file: str
    old: str
    new: str
    tests: tuple[str, ...]


WINDOW = ("test_signature.py::test_the_window_is_inclusive_both_ways_and_closed_to_a_broken_clock",)
EVERY_V1 = ("test_signature.py::test_every_v1_is_tried_with_every_secret",)
SIGNED_ELSEWHERE = ("test_signature.py::test_signatures_of_another_implementation_verify",)
HEADER_LIMITS = ("test_signature.py::test_a_header_is_read_up_to_a_limit_and_not_beyond",)
TIMESTAMPS = (
    "test_signature.py::test_a_timestamp_is_a_plain_decimal_number_even_if_it_was_signed",
)
BODY_LIMITS = (
    "test_receiver.py::test_a_body_is_read_no_further_than_the_limit",
    "test_receiver.py::test_a_body_of_exactly_the_limit_is_received",
    "test_receiver.py::test_what_can_be_refused_without_the_body_is_refused_unread",
)
ANSWERS = (
    "test_response.py::test_each_reason_has_the_promised_status",
    "test_response.py::test_a_refusal_is_problem_json_that_tells_strangers_nothing",
)
DEPTH = ("test_decoding.py::test_json_may_be_64_levels_deep_and_no_deeper",)
EVERY_SECRET = ("test_signature.py::test_it_tells_which_secret_matched",)
EVERY_BYTE = ("test_signature.py::test_every_byte_of_the_digest_counts",)
CONSTANT_TIME = (
    "test_signature.py::test_nothing_but_the_comparison_in_constant_time_tells_whether_digests_are"
    "_equal",
)
KEYS = ("test_keys.py::test_a_key_of_any_length_gives_what_the_standard_library_gives",)
ERROR_REPORTS = (
    "test_secrecy.py::test_neither_logs_nor_errors_of_a_refusal_show_secret_or_expected_digest",
)
READS_WELL = (
    "test_decoding.py::test_a_shipment_event_reads_well_in_a_handler",
    "test_decoding.py::test_a_claim_event_reads_well_in_a_handler",
)

SIGNATURE, ERRORS, EVENTS = "signature.py", "errors.py", "events.py"
EACH_V1 = "for signature in header.signatures"
TOO_LARGE = "if len(self.body) + len(chunk) > self._limit:"
MISTAKES: dict[str, Mistake] = {
    "only the first v1 is tried": Mistake(SIGNATURE, EACH_V1, f"{EACH_V1}[:1]", EVERY_V1),
    "only the last v1 is tried": Mistake(SIGNATURE, EACH_V1, f"{EACH_V1}[-1:]", EVERY_V1),
    "the first of two timestamps is taken": Mistake(
        SIGNATURE, "if len(timestamps) != 1:", "if not timestamps:", HEADER_LIMITS
    ),
    "a timestamp may have a leading zero": Mistake(
        SIGNATURE,
        '_TIMESTAMP = re.compile(r"0|[1-9]',
        '_TIMESTAMP = re.compile(r"[0-9]',
        TIMESTAMPS,
    ),
    "a timestamp may have one more digit": Mistake(
        SIGNATURE, '[0-9]{0,14}")\n', '[0-9]{0,15}")\n', TIMESTAMPS
    ),
    "a header may be longer by a byte": Mistake(
        SIGNATURE, "_MAX_HEADER_BYTES = 4096", "_MAX_HEADER_BYTES = 4097", HEADER_LIMITS
    ),
    "a header may have one more element": Mistake(
        SIGNATURE, "_MAX_ELEMENTS = 32", "_MAX_ELEMENTS = 33", HEADER_LIMITS
    ),
    "a header may have one more v1": Mistake(
        SIGNATURE, "_MAX_SIGNATURES = 16", "_MAX_SIGNATURES = 17", HEADER_LIMITS
    ),
    "the declared size is not checked": Mistake(
        "receiver.py", "declared > self._max_body_bytes", "False", BODY_LIMITS
    ),
    "the size is not checked while reading": Mistake(
        "body.py", TOO_LARGE, "if False:", BODY_LIMITS
    ),
    "the size excludes its limit": Mistake(
        "body.py", TOO_LARGE, TOO_LARGE.replace(">", ">="), BODY_LIMITS
    ),
    "the body is not verified": Mistake(
        "receiver.py",
        "verified = self._verifier.verify_parsed(buffer.body, header)",
        "verified = None",
        ("test_attacks.py::test_all_401_answers_are_the_same_bytes",),
    ),
    "what is not JSON is taken for forged": Mistake(
        ERRORS,
        "Reason.INVALID_JSON: 400,\n        Reason.INVALID_ENVELOPE: 400,",
        "Reason.INVALID_JSON: 401,\n        Reason.INVALID_ENVELOPE: 401,",
        ANSWERS,
    ),
    "what is forged is a bad request": Mistake(
        ERRORS, "Reason.SIGNATURE_MISMATCH: 401", "Reason.SIGNATURE_MISMATCH: 400", ANSWERS
    ),
    "what failed is acknowledged": Mistake(
        ERRORS, "Reason.HANDLER_ERROR: 500", "Reason.HANDLER_ERROR: 200", ANSWERS
    ),
    "what is too large is incomplete": Mistake(
        ERRORS, "Reason.BODY_TOO_LARGE: 413", "Reason.BODY_TOO_LARGE: 400", ANSWERS
    ),
    "a stranger is told the reason": Mistake(
        "response.py", "if status != HTTPStatus.UNAUTHORIZED:", "if True:", ANSWERS
    ),
    "JSON may be deeper by a level": Mistake(
        "decoding.py", "_MAX_DEPTH = 64", "_MAX_DEPTH = 65", DEPTH
    ),
    "JSON may be less deep by a level": Mistake(
        "decoding.py", "_MAX_DEPTH = 64", "_MAX_DEPTH = 63", DEPTH
    ),
    "an error report shows the right digest": Mistake(
        SIGNATURE, "del expected", "pass", ERROR_REPORTS
    ),
    "a long secret is cut": Mistake(
        "keys.py", "secret = hashlib.sha256(secret).digest()", "secret = secret[:64]", KEYS
    ),
    "HMAC has another pad": Mistake("keys.py", "0x5C", "0x5D", KEYS),
    "a property gives another field": Mistake(
        EVENTS, "return self.event_data.phase", "return self.event_data.event_group", READS_WELL
    ),
    "an identifier may be empty": Mistake(
        EVENTS,
        "msgspec.Meta(min_length=1)",
        "msgspec.Meta(min_length=0)",
        ("test_decoding.py::test_a_shipment_without_its_id_is_unknown_and_says_where",),
    ),
    "a time may lack its offset": Mistake(
        EVENTS,
        "msgspec.Meta(tz=True)",
        "msgspec.Meta()",
        ("test_decoding.py::test_an_optional_field_of_an_unexpected_type_costs_that_field_only",),
    ),
}


# Both ways through a verification, each with the same mistakes: how a line differs from its right
# form, and the tests that must notice.
WAYS: dict[str, dict[str, str]] = {
    "short": {
        "fresh": "if abs(skew) <= self._tolerance:\n",
        "signed": 'f"{text}.".encode()',
        "secrets": "for key in self._keys:",
        "equal": "compare_digest(signature, outer.digest())",
    },
    "long": {
        "fresh": "if abs(skew) <= self._tolerance:  # which",
        "signed": 'f"{timestamp}.".encode()',
        "secrets": "in enumerate(self._keys):",
        "equal": "compare_digest(signature, expected)",
    },
}
IN_BOTH_WAYS: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "the window excludes its ends": ("fresh", "abs(skew) <=", "abs(skew) <", WINDOW),
    "the future is not checked": ("fresh", "abs(skew)", "skew", WINDOW),
    "the past is not checked": ("fresh", "abs(skew)", "-skew", WINDOW),
    "a clock that shows NaN accepts": ("fresh", "abs(skew) <=", "not abs(skew) >", WINDOW),
    "the dot is not signed": ("signed", '}."', '}"', SIGNED_ELSEWHERE),
    "only the first secret is tried": ("secrets", "_keys", "_keys[:1]", EVERY_SECRET),
    "only the last secret is tried": ("secrets", "_keys", "_keys[-1:]", EVERY_SECRET),
    "digests are compared with ==": ("equal", "compare_digest", "bytes.__eq__", CONSTANT_TIME),
    "digests are compared in part": ("equal", "(signature, ", "(signature[:16], ", EVERY_BYTE),
}
IN_PART = {"outer.digest())": "outer.digest()[:16])", "expected)": "expected[:16])"}


def both_ways() -> dict[str, Mistake]:
    made: dict[str, Mistake] = {}
    for way, lines in WAYS.items():
        for title, (line, right, wrong, tests) in IN_BOTH_WAYS.items():
            old = lines[line]
            new = old.replace(right, wrong)
            if tests is EVERY_BYTE:
                for end, part in IN_PART.items():
                    new = new.replace(end, part)
            made[f"{title}, the {way} way"] = Mistake(SIGNATURE, old, new, tests)
    return made


MISTAKES.update(both_ways())


def copy_with(mistake: Mistake, folder: Path) -> None:
    """Copy the package into a folder, and make the mistake in the copy."""
    copied = folder / "karla_receiver"
    shutil.copytree(PACKAGE, copied, ignore=shutil.ignore_patterns("__pycache__"))
    source = (copied / mistake.file).read_text()
    assert source.count(mistake.old) == 1, (
        f"{mistake.file} has {mistake.old!r} {source.count(mistake.old)} times, and should have it"
        " once: give this table the line as it is now"
    )
    (copied / mistake.file).write_text(source.replace(mistake.old, mistake.new))


def run_with(folder: Path, suite: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python beside the tests, with the package that is in a folder."""
    # What a copy ran is not the project's coverage, and plugins of whatever else is installed
    # would cost more time than the tests.
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE_")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=suite,
        env={**inherited, "PYTHONPATH": str(folder), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def run_tests(folder: Path, suite: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    options = ["-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    return run_with(folder, suite, *options, *(f"tests/{test}" for test in tests))


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tests in a folder of their own, without the package beside them."""
    folder = tmp_path_factory.mktemp("suite")
    shutil.copytree(TESTS, folder / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(TESTS.parent / "pyproject.toml", folder)
    return folder


def test_the_tests_pass_without_a_mistake_and_do_test_the_copy(suite: Path, tmp_path: Path) -> None:
    copy_with(Mistake(SIGNATURE, EACH_V1, EACH_V1, ()), tmp_path)

    found = run_with(tmp_path, suite, "-c", "import karla_receiver; print(karla_receiver.__file__)")
    assert found.stdout.strip() == str(tmp_path / "karla_receiver" / "__init__.py")
    tests = {test for mistake in MISTAKES.values() for test in mistake.tests}
    run = run_tests(tmp_path, suite, *sorted(tests))
    assert run.returncode == pytest.ExitCode.OK, run.stdout + run.stderr


@pytest.fixture(scope="module")
def runs(
    suite: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[dict[str, Future[subprocess.CompletedProcess[str]]]]:
    """A run of the tests for each mistake, as many at a time as there are processors."""

    def run(mistake: Mistake) -> subprocess.CompletedProcess[str]:
        folder = tmp_path_factory.mktemp("mistake")
        copy_with(mistake, folder)
        return run_tests(folder, suite, *mistake.tests)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        names = {item.name for item in request.session.items}
        yield {
            title: pool.submit(run, mistake)
            for title, mistake in MISTAKES.items()
            if f"{test_a_mistake_is_noticed.__name__}[{title}]" in names
        }


@pytest.mark.parametrize("title", MISTAKES)
def test_a_mistake_is_noticed(
    title: str, runs: dict[str, Future[subprocess.CompletedProcess[str]]]
) -> None:
    run = runs[title].result()
    # Failed, and not: could not start, or found no tests.
    assert run.returncode == pytest.ExitCode.TESTS_FAILED, run.stdout + run.stderr
    assert "FAILED tests/" in run.stdout


def test_a_line_that_is_no_longer_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="the line as it is now"):
        copy_with(Mistake(SIGNATURE, "no such line", "", ()), tmp_path)
