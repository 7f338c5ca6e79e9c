"""Checks that the wheel and the sdist hold what the checkout holds, and nothing at the wrong place.

Usage: python .ci/check_archives.py DIST
"""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path


def files_in(folder: str, *patterns: str) -> set[str]:
    """Return the files below a folder of the checkout, without following the link in it."""
    root = Path(folder)
    found = [path for pattern in patterns for path in root.rglob(pattern)]
    return {str(path) for path in found if "__pycache__" not in path.parts}


def main() -> None:
    """Compare; exit with a message at the first difference."""
    (dist,) = map(Path, sys.argv[1:])
    (wheel,) = dist.glob("*.whl")
    (sdist,) = dist.glob("*.tar.gz")
    core = {
        name
        for name in files_in("karla_receiver", "*.py", "*.json", "py.typed")
        if not name.startswith("karla_receiver/adapters/")
    }
    adapters = files_in("adapters", "*.py")

    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = core | {f"karla_receiver/{name}" for name in adapters}
    if packed != expected:
        sys.exit(f"{wheel.name} differs from the checkout in {sorted(packed ^ expected)}")

    with tarfile.open(sdist) as tar:
        unpacked = {member.name.partition("/")[2] for member in tar.getmembers()}
    if not core | adapters <= unpacked:
        sys.exit(f"{sdist.name} lacks {sorted((core | adapters) - unpacked)}")
    print(f"{wheel.name}: {len(packed)} files, all below karla_receiver/")


if __name__ == "__main__":
    main()
