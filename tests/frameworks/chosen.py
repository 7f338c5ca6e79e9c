"""The frameworks whose folders are here, and every door there is.

KARLA_DOORS, names with commas between them, chooses some: where not every framework is installed.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

from tests import doors
from tests.doors import Door
from tests.frameworks.contract import Framework

__all__ = ["DOORS", "FRAMEWORKS"]

_NAMES = sorted(path.parent.name for path in Path(__file__).parent.glob("*/__init__.py"))
_CHOSEN = os.environ.get("KARLA_DOORS", ",".join(_NAMES)).split(",")

FRAMEWORKS: dict[str, Framework] = {
    name: import_module(f"tests.frameworks.{name}").FRAMEWORK for name in _CHOSEN
}
DOORS: dict[str, Door] = dict(doors.DOORS)
for _framework in FRAMEWORKS.values():
    DOORS.update(_framework.doors)
