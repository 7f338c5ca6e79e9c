"""Where a thread stands still between requests, so that a worker would handle nothing."""

from __future__ import annotations

import os
import sys
from typing import Any, Final

from karla_receiver.errors import ConfigurationError

__all__ = ["refuse_frozen_threads"]

# Each has threads run, or has greenlets in their place.
_THREADING: Final = ("enable-threads", "threads", "gevent")
_OFF: Final = {"", "0", "false", "no", "off"}


def refuse_frozen_threads() -> None:
    """Raise ConfigurationError in a process whose threads do not run between requests."""
    if os.environ.get("AWS_LAMBDA_FUNCTION_NAME"):
        raise ConfigurationError(
            "AWS Lambda stops a function's threads when it has answered, and its disk does not"
            " last, so no worker can run here: use a CeleryInbox, or no inbox"
        )
    # A module that only uWSGI has, which makes it when it starts Python.
    options: dict[str, Any] | None = getattr(sys.modules.get("uwsgi"), "opt", None)
    if options is not None and not any(_is_on(options.get(name, b"")) for name in _THREADING):
        raise ConfigurationError(
            "uWSGI stops all threads between requests, so no worker can run here: set"
            " `enable-threads = true`, or give the inbox workers=0 and run `karla-receiver work`"
        )


def _is_on(value: bytes | bool) -> bool:
    return value if isinstance(value, bool) else value.decode().lower() not in _OFF
