"""Tells PyInstaller where the hook is; found by the entry point `pyinstaller40`."""

from __future__ import annotations

from pathlib import Path

__all__ = ["get_hook_dirs"]


def get_hook_dirs() -> list[str]:
    """Return the directory of the hook."""
    return [str(Path(__file__).parent)]
