"""The command line `karla-receiver`. Needs the extra `cli`; each command is a file of its own."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

from karla_receiver import Receiver

__all__ = ["main"]

_EXTRA_OF = {
    "typer": "cli",
    "rich": "cli",
    "httpx2": "cli",
    "uvicorn": "cli",
    "waitress": "cli",
    "flask": "flask",
}


def main(
    arguments: Sequence[str] | None = None,
    *,
    name: str = "karla-receiver",
    receiver: Receiver | None = None,
) -> None:
    """Run the command line, and exit with its status.

    arguments: what follows the name; None: those of the process. name: as the help has it.
    receiver: the one that commands use if the arguments name none.
    A library that is not installed costs one line that says how to install it, and status 2.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A character that the terminal lacks is no reason to fail, and not to be lost: it may
            # be a secret's, which is shown once.
            stream.reconfigure(errors="backslashreplace")
    try:
        # Here, because this module must load without the extra, to be able to name it.
        from karla_receiver.cli.program import program

        program(args=arguments, prog_name=name, obj=receiver)
    except KeyboardInterrupt:
        sys.exit(130)  # while it was loading; afterwards the program sees to it
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRA_OF:
            raise
        _refuse_without(missing)


def _refuse_without(missing: str) -> None:
    extra = _EXTRA_OF[missing]
    sys.stderr.write(f"{missing} is missing: pip install 'karla-receiver[{extra}]'\n")
    sys.exit(2)
