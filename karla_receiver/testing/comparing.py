"""Watches, within this process, whether signatures are compared in constant time."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Generator
from types import FrameType
from typing import Any

__all__ = ["constant_time_comparisons"]


@contextlib.contextmanager
def constant_time_comparisons() -> Generator[list[str]]:
    """Collect the names of constant-time comparisons that are called meanwhile.

    In all threads from Python 3.12 on; before, in this one and in those that are started
    meanwhile. Seen are calls of
    `hmac.compare_digest`, under whatever name (`secrets.compare_digest` and Django's
    `constant_time_compare` end there too), and of the verifiers of the library `cryptography`.
    """
    seen: list[str] = []

    def watch(frame: FrameType, event: str, function: Any) -> None:
        if event == "c_call":
            name: str = function.__name__
            module = str(getattr(function, "__module__", None))
            if name.endswith("compare_digest") or (
                name in {"bytes_eq", "verify"} and module.startswith("cryptography")
            ):
                seen.append(name)

    # The first sets it for threads that run already too, from Python 3.12 on.
    set_for_threads: Callable[[Any], None] = getattr(
        threading, "setprofile_all_threads", threading.setprofile
    )
    earlier = sys.getprofile(), threading.getprofile()
    set_for_threads(watch)
    sys.setprofile(watch)
    try:
        yield seen
    finally:
        set_for_threads(earlier[1])
        sys.setprofile(earlier[0])
