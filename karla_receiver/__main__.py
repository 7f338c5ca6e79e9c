"""The command line, as `python -m karla_receiver`."""

from __future__ import annotations

from karla_receiver.cli import main

if __name__ == "__main__":  # pragma: no branch
    main()
