from __future__ import annotations

import hmac
import secrets
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from karla_receiver.testing.comparing import constant_time_comparisons


def test_a_comparison_is_seen_under_whatever_name() -> None:
    from hmac import compare_digest as compare

    for call in (compare, hmac.compare_digest, secrets.compare_digest):
        with constant_time_comparisons() as seen:
            call(b"a", b"b")
        assert len(seen) == 1


def test_a_comparison_in_a_thread_is_seen() -> None:
    with constant_time_comparisons() as seen:
        thread = threading.Thread(target=hmac.compare_digest, args=(b"a", b"b"))
        thread.start()
        thread.join()
    assert len(seen) == 1


def test_a_comparison_in_a_thread_that_ran_before_is_seen_where_python_can_watch_it() -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(len, "").result()
        with constant_time_comparisons() as seen:
            pool.submit(hmac.compare_digest, b"a", b"b").result()
        pool.submit(hmac.compare_digest, b"a", b"b").result()
    assert len(seen) == (1 if hasattr(threading, "setprofile_all_threads") else 0)


def test_equality_and_other_calls_are_not_taken_for_one() -> None:
    with constant_time_comparisons() as seen:
        assert hmac.new(b"k", b"m", "sha256").hexdigest() != "0" * 64
        assert len(b"abc") == 3
    assert seen == []


@pytest.mark.parametrize(
    ("name", "module", "is_seen"),
    [
        ("bytes_eq", "cryptography.hazmat.primitives.constant_time", True),
        ("verify", "cryptography.hazmat.bindings._rust", True),
        ("verify", "somewhere.else", False),
        ("verify", None, False),
    ],
)
def test_the_verifiers_of_cryptography_count(name: str, module: str | None, is_seen: bool) -> None:
    # Called as the interpreter calls it, since the library need not be here.
    function = SimpleNamespace(__name__=name, __module__=module)
    with constant_time_comparisons() as seen:
        watch: Any = sys.getprofile()
        watch(None, "c_call", function)
        watch(None, "c_return", function)
    assert seen == ([name] if is_seen else [])


def test_a_profiler_that_was_there_before_is_there_again() -> None:
    def profiler(*_: Any) -> None:
        """Stand for a profiler."""

    before = sys.getprofile(), threading.getprofile()
    try:
        sys.setprofile(profiler)
        threading.setprofile(profiler)
        with constant_time_comparisons():
            assert sys.getprofile() is not profiler
        assert sys.getprofile() is threading.getprofile() is profiler
    finally:
        sys.setprofile(before[0])
        threading.setprofile(before[1])
