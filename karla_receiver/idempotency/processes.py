"""How many processes a server runs, as far as its command line and environment say."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path
from typing import Final

__all__ = ["server_processes"]

_SERVERS: Final = {"gunicorn", "uvicorn", "hypercorn", "granian", "fastapi"}
_WORKERS: Final = re.compile(r"(?:^|\s)(?:-w[\s=]*|--workers[\s=]+)([0-9]{1,4})(?=\s|$)")


def server_processes() -> int:
    """Return how many worker processes the server of this process runs; 1 if it does not say.

    A number that is set in a configuration file, or in a call of the server, is not seen. Of uWSGI
    it is.
    """
    module = sys.modules.get("uwsgi")
    if module is not None:
        return int(getattr(module, "numproc", 1))
    # Processes that are started anew have the command line of the one that started them.
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.stem
    if name not in _SERVERS:
        return 1
    arguments = sys.argv[1:]
    if name == "gunicorn":
        arguments = [*shlex.split(os.environ.get("GUNICORN_CMD_ARGS", "")), *arguments]
    found = _WORKERS.findall(" ".join(arguments)) or [os.environ.get("WEB_CONCURRENCY", "")]
    return int(found[-1]) if found[-1].isdecimal() else 1
