"""Prints what the tests run on: the Python, and every package with its version."""

from __future__ import annotations

import sys
from importlib.metadata import distributions

print("Python", sys.version)
print(*sorted({f"{each.name} {each.version}" for each in distributions()}), sep=", ")
