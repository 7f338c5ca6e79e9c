"""Where a worker would handle nothing: its threads stand still between requests, or fork away."""

from __future__ import annotations

import os
import sys
from typing import Any, Final

from karla_receiver.errors import ConfigurationError

__all__ = ["refuse_frozen_threads", "refuse_threads_before_fork"]

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
    options = getattr(_uwsgi(), "opt", None)
    if options is not None and not any(_is_on(options.get(name, b"")) for name in _THREADING):
        raise ConfigurationError(
            "uWSGI stops all threads between requests, so no worker can run here: set"
            " `enable-threads = true`, or give the inbox workers=0 and run `karla-receiver work`"
        )


def refuse_threads_before_fork() -> None:
    """Raise ConfigurationError in a uWSGI that is about to fork, without telling Python.

    The forked processes would wait for ever for a lock that one of the threads has.
    """
    uwsgi = _uwsgi()
    if uwsgi is None or uwsgi.worker_id() or not (uwsgi.masterpid() or uwsgi.numproc > 1):
        return
    if not _is_on(uwsgi.opt.get("py-call-uwsgi-fork-hooks", b"")):
        raise ConfigurationError(
            "uWSGI forks its workers after it has loaded the app, and a worker's threads cannot be"
            " forked: set `lazy-apps = true` or `py-call-uwsgi-fork-hooks = true`, or leave out"
            " start(), as the worker starts with the first delivery"
        )


def _uwsgi() -> Any:
    """Return the module that uWSGI makes when it starts Python; None under any other server."""
    return sys.modules.get("uwsgi")


def _is_on(value: bytes | bool) -> bool:
    return value if isinstance(value, bool) else value.decode().lower() not in _OFF
