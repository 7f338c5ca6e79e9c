"""Refuses `pip install -e .` in a clone without symbolic links, where the adapters are missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class AdaptersAreThere(BuildHookInterface[Any]):
    """Looks at `karla_receiver/adapters` before an editable install."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Raise RuntimeError if the link is a text file, as Git on Windows leaves it."""
        link = Path(self.root, "karla_receiver", "adapters")
        if version == "editable" and not link.is_dir():
            raise RuntimeError(
                f"{link} is no link to the folder adapters, so nothing could be imported from it."
                " Have Git make links: run `git config core.symlinks true`, and then"
                " `git checkout -- karla_receiver/adapters` (on Windows with developer mode)"
            )
