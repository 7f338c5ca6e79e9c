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

__all__ = ["DOORS", "ENDPOINTS", "FRAMEWORKS"]

_NAMES = sorted(path.parent.name for path in Path(__file__).parent.glob("*/__init__.py"))
_CHOSEN = os.environ.get("KARLA_DOORS", ",".join(_NAMES)).split(",")

_MODULES = {name: import_module(f"tests.frameworks.{name}") for name in _CHOSEN}
FRAMEWORKS: dict[str, Framework] = {name: module.FRAMEWORK for name, module in _MODULES.items()}
DOORS: dict[str, Door] = dict(doors.DOORS)
# The ways to mount a receiver whose handlers do everything.
ENDPOINTS: dict[str, Door] = dict(doors.ENDPOINTS)
for _name, _module in _MODULES.items():
    DOORS.update(FRAMEWORKS[_name].doors)
    ENDPOINTS.update(getattr(_module, "ENDPOINTS", {}))
