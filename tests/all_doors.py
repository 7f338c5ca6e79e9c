"""Every door there is: a new one is a module `doors_<name>` with its DOORS.

KARLA_DOORS, names with commas between them, chooses some: where not every framework is installed.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

from tests import doors
from tests.doors import Door

FRAMEWORKS = sorted(
    path.stem.removeprefix("doors_") for path in Path(__file__).parent.glob("doors_*.py")
)

CHOSEN = os.environ.get("KARLA_DOORS", ",".join(FRAMEWORKS)).split(",")

DOORS: dict[str, Door] = dict(doors.DOORS)
for _name in CHOSEN:
    DOORS.update(import_module(f"tests.doors_{_name}").DOORS)


def installed(*names: str) -> list[str]:
    """Return those of some doors that are there."""
    return [name for name in names if name in DOORS]
