"""The package's table of attacks, with a second opinion on how it is read."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

from karla_receiver.testing import attacks
from karla_receiver.testing.attacks import Case, Secret

__all__ = ["DATA", "Case", "Secret", "load_cases"]

DATA = Path(__file__).parent / "data"

TABLE = json.loads(files("karla_receiver.testing").joinpath("attacks.json").read_bytes())
# What the author of the table resolved.
RESOLVED = {row["id"]: row.get("header_resolved") for row in TABLE["cases"]}


def load_cases(layer: str) -> list[Case]:
    """Return the cases of a layer: core, adapter, server or system."""
    cases = attacks.load_cases(layer)
    for case in cases:
        resolved = RESOLVED[case.id]
        if resolved is not None:
            expected = resolved if isinstance(resolved, list) else [resolved]
            assert case.header_lines == expected, case.id
    return cases
