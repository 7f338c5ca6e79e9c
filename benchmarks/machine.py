"""Where the figures come from: processor, versions, and how busy it was."""

from __future__ import annotations

import os
import platform
import ssl
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["describe"]

_PACKAGES = ("karla-receiver", "msgspec", "flask", "uvicorn", "uvloop", "gunicorn")


def describe() -> dict[str, str]:
    """Return what a reader needs in order to judge the figures."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "openssl": ssl.OPENSSL_VERSION,
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "system": platform.system(),
        "load": " ".join(f"{load:.1f}" for load in os.getloadavg()),
        "packages": ", ".join(f"{name} {_version(name)}" for name in _PACKAGES),
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
