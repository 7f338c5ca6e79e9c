"""Runs the tests of an adapter on the oldest version that its extra allows, and on the newest.

Each in a virtual environment of its own.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
FRAMEWORKS = ("starlette", "fastapi", "django", "aiohttp", "quart")


def lower_bound(name: str) -> str:
    """Return the version that the extra starts at."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (requirement,) = project["optional-dependencies"][name]
    return str(requirement).replace(f"{name}>=", f"{name}==")


def run(command: list[str], **environment: str) -> str:
    """Run a command at the root; print what it said and stop if it failed."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{done.stdout}\n{' '.join(command)} failed")
    return done.stdout


def check(requirement: str) -> None:
    """Test one framework in one version."""
    name = re.split("[=<>]", requirement)[0]
    with tempfile.TemporaryDirectory() as folder:
        run([sys.executable, "-m", "venv", folder])
        python = f"{folder}/bin/python"
        tools = ["pytest", "hypothesis", "flask"]
        run([python, "-m", "pip", "install", "-q", "-e", ".", *tools, requirement])
        version = run([python, "-c", f"import importlib.metadata as m; print(m.version('{name}'))"])
        counts = [
            # CI: what needs a framework that is not there is left out on purpose.
            run([python, "-m", "pytest", "-q", *tests], KARLA_DOORS=name, CI="")
            for tests in (
                ["tests/test_attacks.py", "-k", name],
                ["tests/adapters/test_views.py", f"tests/adapters/test_{name}.py"],
            )
        ]
    attacks, others = (re.findall(r"(\d+) passed", output)[-1] for output in counts)
    print(f"{name:<10} {version.strip():<10} {attacks:>5} attacks, {others:>3} others", flush=True)


def main() -> None:
    """Test the frameworks that were chosen, or all."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument(
        "--oldest", action="store_true", help="leave the newest out, which the suite runs anyway"
    )
    parser.add_argument(
        "frameworks",
        nargs="*",
        default=FRAMEWORKS,
        metavar="NAME[==VERSION]",
        help=f"one of {', '.join(FRAMEWORKS)} (all if left out), or any version of it",
    )
    arguments = parser.parse_args()
    for requirement in arguments.frameworks:
        name = requirement.partition("==")[0]
        if name not in FRAMEWORKS:
            parser.error(f"no such framework: {name}")
        if "==" in requirement:
            check(requirement)
            continue
        check(lower_bound(requirement))
        if not arguments.oldest:
            check(requirement)


if __name__ == "__main__":
    main()
