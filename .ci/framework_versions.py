"""Runs the adapters' tests on the oldest versions that pyproject.toml allows, or on other versions.

The newest are what the whole suite runs on.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CORE: str = PROJECT["dependencies"][0]
# Their tests wait for tenths of a second, and fail on a machine that is busy with all the others.
BROKERS = {"redis", "celery"}
# An adapter is a file or a package.
FOUND = {path.stem for path in (ROOT / "adapters").glob("[!_]*")}
# What each other adapter requires, by the name of its extra and its file.
ADAPTERS: dict[str, str] = {
    name: requirements[0]
    for name, requirements in PROJECT["optional-dependencies"].items()
    if name in FOUND - BROKERS
}
# Its oldest version wants an older Starlette than the oldest of the extra `starlette`.
APART = "fastapi"
FRAMEWORKS = {path.parent.name for path in (ROOT / "tests/frameworks").glob("*/__init__.py")}
TOOLS = ["pytest", "hypothesis", "httpx2", "pyyaml", "gunicorn", "opentelemetry-sdk", "flask"]


class Job(NamedTuple):
    """A run of some tests in an environment, which has the frameworks of some doors."""

    python: str
    doors: set[str]
    tests: list[str]


def oldest(requirement: str) -> str:
    """Return a requirement of the version that another one starts at."""
    return requirement.replace(">=", "==")


def package(requirement: str) -> str:
    """Return the name in a requirement."""
    return re.split("[=<>]", requirement)[0]


def run(command: list[str], **environment: str) -> str:
    """Run a command at the root; raise SystemExit with what it said if it failed."""
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


def install(folder: Path, requirements: dict[str, str], core: str = CORE) -> list[Job]:
    """Make an environment of some adapters; return the runs of their tests."""
    run([sys.executable, "-m", "venv", str(folder)])
    python = str(folder / "bin" / "python")
    wanted = [core, *requirements.values()]
    run([python, "-m", "pip", "install", "-q", "-e", ".", *TOOLS, *wanted])
    packages = [package(requirement) for requirement in wanted]
    ask = "import importlib.metadata as m, sys; print(*map(m.version, sys.argv[1:]))"
    versions = run([python, "-c", ask, *packages]).split()
    print(*map(" ".join, zip(packages, versions, strict=True)), sep=", ", flush=True)
    doors = FRAMEWORKS & requirements.keys()
    own = [
        f"tests/frameworks/{name}" if name in doors else f"tests/adapters/test_{name}.py"
        for name in requirements
    ]
    suites = [["tests/frameworks/test_views.py", "tests/test_decoding.py", *own]]
    if doors:
        suites.insert(0, ["tests/test_attacks.py", "-k", " or ".join(sorted(doors))])
    return [Job(python, doors, suite) for suite in suites]


def test(job: Job) -> str:
    """Run the tests; return how many passed."""
    command = [job.python, "-m", "pytest", "-m", "", "-q", "-p", "no:cacheprovider", *job.tests]
    # CI: what needs a framework that is not there is left out on purpose.
    said = run(command, KARLA_DOORS=",".join({"aws_lambda", "flask", *job.doors}), CI="")
    return said.splitlines()[-1]


def main() -> None:
    """Test the adapters, each on the oldest version, or those that were chosen."""
    of_package = {package(requirement): name for name, requirement in ADAPTERS.items()}
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument(
        "chosen",
        nargs="*",
        metavar="PACKAGE==VERSION",
        help=f"of {', '.join(of_package)}: in one environment; the oldest of all if left out",
    )
    chosen: list[str] = parser.parse_args().chosen
    if unknown := {package(requirement) for requirement in chosen} - of_package.keys():
        parser.error(f"no adapter is for {', '.join(unknown)}")
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        if chosen:
            wanted = {of_package[package(requirement)]: requirement for requirement in chosen}
            jobs = install(Path(folder), wanted)
        else:
            lowest = {name: oldest(requirement) for name, requirement in ADAPTERS.items()}
            apart = {APART: lowest.pop(APART)}
            environments = [
                pool.submit(install, Path(folder) / f"{len(versions)}", versions, oldest(CORE))
                for versions in (lowest, apart)
            ]
            jobs = [job for environment in environments for job in environment.result()]
        for passed in pool.map(test, jobs):
            print(passed, flush=True)


if __name__ == "__main__":
    main()
