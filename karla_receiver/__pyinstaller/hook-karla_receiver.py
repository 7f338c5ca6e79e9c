"""What PyInstaller cannot see: the samples, the table of attacks, and the version."""

# ruff: noqa: N999 - PyInstaller looks for this name

from __future__ import annotations

from importlib import import_module
from typing import Any

# Without types, and not needed for anything else.
_hooks: Any = import_module("PyInstaller.utils.hooks")

datas = _hooks.collect_data_files("karla_receiver") + _hooks.copy_metadata("karla-receiver")
