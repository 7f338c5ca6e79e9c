"""The steps of `.ci/run`. `nox -l` lists them, `nox -s NAME` runs one."""

from __future__ import annotations

import functools
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import NoReturn

import nox

nox.needs_version = ">=2026.10.20"  # runs sessions side by side
nox.options.default_venv_backend = "uv"
nox.options.download_python = "never"
nox.options.allow_parallel = True
ROOT = Path(__file__).parent
CI = bool(os.environ.get("CI"))
# Coverage starts itself in every process that has the first variable. The second collects what
# processes in other folders measure.
COVERED = {
    "COVERAGE_PROCESS_START": str(ROOT / "pyproject.toml"),
    "COVERAGE_FILE": str(ROOT / ".coverage"),
}
# The core, and the adapters that need no framework but Flask.
CORE = [
    *("tests/test_agreement.py", "tests/test_attacks.py", "tests/test_concurrency.py"),
    *("tests/test_decoding.py", "tests/test_keeping.py", "tests/test_keys.py"),
    *("tests/test_mounting.py", "tests/test_observing.py", "tests/test_patterns.py"),
    *("tests/test_receiver.py", "tests/test_request.py", "tests/test_resources.py"),
    *("tests/test_response.py", "tests/test_secrecy.py", "tests/test_signature.py"),
    *("tests/adapters/test_asgi.py", "tests/adapters/test_wsgi.py", "tests/frameworks/flask"),
]
CORE_DOORS = {"KARLA_DOORS": "aws_lambda,flask"}
# The core and every adapter, with every attack at each door.
ALL_DOORS = ["-n", "2", *CORE, "tests/adapters", "tests/frameworks", "-m", ""]
# What a wheel may lack shows here: data, entry points and modules.
PACKAGED = [
    *("tests/cli", "tests/explain", "tests/registration", "tests/testing"),
    *("tests/test_attacks.py", "tests/test_endpoints.py", "tests/test_examples.py"),
    *("tests/test_front_door.py", "tests/test_packaging.py", "tests/test_readme.py"),
    *("tests/test_samples.py", "tests/test_views.py"),
]
# Where slow tests reach lines that the README's test command does not.
REACHING = [
    "tests/adapters/test_redis.py",
    *(f"tests/cli/test_{name}.py" for name in ("django_project", "listen", "main", "webhooks")),
    *("tests/cli/test_program.py", "tests/cli/test_sign_and_verify.py"),
    *(f"tests/testing/test_{name}.py" for name in ("fake_karla", "plugin", "safety")),
]
# Whose slow tests the step `debian` runs, on the newest Python with the newest frameworks.
NEWEST = ["tests/test_attacks.py", "tests/adapters", "tests/frameworks"]
PROGRAMS = ["tests/cli", "tests/registration", "tests/testing"]
ALL_EXTRAS = ("-e", ".[all]", "--group", "tests")
EXTRAS = set(nox.project.load_toml(ROOT / "pyproject.toml")["project"]["optional-dependencies"])


def installed(version: str) -> str | None:
    """Return the path of a Python, which pyenv may have."""
    of_pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    return str(of_pyenv[-1]) if of_pyenv else shutil.which(f"python{version}")


# No Debian has 3.12, and not every one 3.13: .ci/run tests them where they are installed.
INSTALLED = {version: installed(version) for version in ("3.12", "3.13")}
# What .ci/run runs, in the order in which they are defined: the longest first.
nox.options.sessions = [
    *(
        "readme",
        "slow",
        "servers",
        "reaching",
        "oldest",
        "debian(3.14)",
        "optimised",
        "development",
        "build",
    ),
    *("wheel", "wheel_types", "types", "docs", "fuzz", "demo", "lint", "coverage", "speed"),
    *(f"newer-{version}" for version, path in INSTALLED.items() if path),
]


def missing(session: nox.Session, reason: str) -> NoReturn:
    """Fail in CI, and skip elsewhere."""
    if CI:
        session.error(reason)
    session.skip(reason)


def readme_command(number: int) -> str:
    """Return a command of the README: users run what is run here."""
    blocks = re.findall(r"^```sh\n(.+?)\n```$", (ROOT / "README.md").read_text(), re.M | re.S)
    return str(blocks[number - 1])


@nox.session(venv_backend="none")
def readme(session: nox.Session) -> None:
    """The README's test command, with coverage. Makes .venv."""
    for measured in ROOT.glob(".coverage*"):
        measured.unlink()
    session.run("bash", "-euc", readme_command(2), external=True, env=COVERED)


@nox.session
def slow(session: nox.Session) -> None:
    """The tests marked slow, but for those of `reaching`, `servers` and `debian`."""
    session.install(*ALL_EXTRAS, "pip")  # the pages' commands of pip are run
    others = [f"--ignore={path}" for path in ("tests/servers", *REACHING, *NEWEST)]
    session.run("pytest", "-q", "-n", "2", "-m", "slow", *others, *session.posargs)


@nox.session
def reaching(session: nox.Session) -> None:
    """The tests marked slow that reach lines that no other does, with coverage."""
    session.install(*ALL_EXTRAS)
    command = ["pytest", "-q", "-n", "2", "-m", "slow", *REACHING]
    session.run(*command, *session.posargs, env=COVERED)


@nox.session
def servers(session: nox.Session) -> None:
    """The attacks against real servers."""
    session.install(*ALL_EXTRAS, "--group", "servers")
    session.run("pytest", "-q", "-m", "", "tests/servers", *session.posargs)


@nox.session
@nox.parametrize("apart", [False, True], ids=["most", "fastapi"])
def oldest(session: nox.Session, apart: bool) -> None:
    """All adapters and programs, on the oldest versions that the extras allow."""
    # The oldest FastAPI wants an older Starlette than the oldest of the extra `starlette`.
    extras = {"fastapi", "flask", "testing"} if apart else EXTRAS - {"all", "fastapi"}
    with_tools = [f".[{','.join(sorted(extras))}]", "gunicorn>=23", "opentelemetry-sdk>=1.30"]
    session.install("--resolution", "lowest-direct", "-e", *with_tools)
    # httpx: for the test client of old versions of Starlette.
    others = ("python-json-logger", "pyyaml", "structlog", "time-machine")
    session.install("pytest-xdist", "httpx", *others)
    session.run("python", ".ci/versions.py")
    own = {name: f"tests/frameworks/{name}" for name in sorted(extras)}
    frameworks = {name: folder for name, folder in own.items() if (ROOT / folder).is_dir()}
    single = [f"tests/adapters/test_{name}.py" for name in sorted(extras)]
    tests = ["tests/test_attacks.py", "tests/test_decoding.py", "tests/frameworks/test_views.py"]
    tests += [*frameworks.values(), *(path for path in single if (ROOT / path).exists())]
    tests += [] if apart else PROGRAMS
    doors = {"KARLA_DOORS": ",".join(["aws_lambda", *frameworks])}
    session.run("pytest", "-q", "-n", "2", *(session.posargs or tests), env=doors)


@nox.session
@nox.parametrize("version", ["3.13", "3.14", "3.15"], ids=["3.13", "3.14", "3.15"])
def debian(session: nox.Session, version: str) -> None:
    """The core and all adapters on a Python of Debian unstable, in a folder entered by chroot."""
    for program, package in {"apt-get": "apt", "dpkg": "dpkg", "unshare": "util-linux"}.items():
        if not shutil.which(program):
            missing(session, f"{program} is not installed (Debian: {package})")
    if os.geteuid() != 0:
        missing(session, "only root may enter a folder by chroot")
    session.install("uv")
    arguments = session.posargs or ALL_DOORS
    session.run("bash", ".ci/debian_python", version, *arguments, external=True)


def newer(session: nox.Session, version: str) -> None:
    """The core on an installed Python of pyenv or Debian, without the slow tests."""
    if INSTALLED[version] is None:
        missing(session, f"Python {version} is not installed (Debian: python{version}-venv)")
    session.install(*ALL_EXTRAS)
    session.run("python", ".ci/versions.py")
    session.run("pytest", "-q", *(session.posargs or CORE), env=CORE_DOORS)


for version, path in INSTALLED.items():
    step = functools.partial(newer, version=version)
    step.__doc__ = newer.__doc__
    nox.session(name=f"newer-{version}", python=path)(step)


@nox.session
def optimised(session: nox.Session) -> None:
    """The core with python -O, which leaves out asserts."""
    session.install(*ALL_EXTRAS)
    ignored = "ignore:assertions not in test modules:pytest.PytestConfigWarning"
    command = ["python", "-O", "-m", "pytest", "-q", "-W", ignored]
    session.run(*command, *CORE, env=CORE_DOORS)


@nox.session
def development(session: nox.Session) -> None:
    """The core with python -X dev, bytes compared to text as errors, and no limit of digits."""
    session.install(*ALL_EXTRAS)
    command = ["python", "-bb", "-X", "dev", "-m", "pytest", "-q"]
    session.run(*command, *CORE, env={**CORE_DOORS, "PYTHONINTMAXSTRDIGITS": "0"})


@nox.session
def build(session: nox.Session) -> None:
    """The wheel and the sdist, into dist/."""
    session.install("build")
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    session.run("python", "-m", "build")
    session.run("python", ".ci/check_archives.py", "dist")


def install_wheel(session: nox.Session, *others: str) -> None:
    (wheel,) = (ROOT / "dist").glob("*.whl")
    session.install(f"{wheel}[all]", *others)


@nox.session(requires=["build"])
def wheel(session: nox.Session) -> None:
    """The tests that an incomplete wheel fails, against the wheel."""
    install_wheel(session, "--group", "tests")
    with tempfile.TemporaryDirectory() as folder:
        for name in (".ci", "tests", "examples", "docs", "fuzzing", "benchmarks"):
            shutil.copytree(ROOT / name, Path(folder, name))
        for path in (*ROOT.glob("*.md"), ROOT / "pyproject.toml", ROOT / "noxfile.py"):
            shutil.copy(path, folder)
        session.chdir(folder)
        # python -m: the tests import folders that are beside them, and are no part of the wheel.
        session.run("python", "-m", "pytest", "-q", *PACKAGED, *session.posargs)


@nox.session(requires=["build"])
def wheel_types(session: nox.Session) -> None:
    """Type-check user code against the wheel: mypy and pyright, strict."""
    install_wheel(session, "mypy", "pyright", "celery-types", "django-stubs")
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "tests" / "typing", folder, dirs_exist_ok=True)
        for path in ROOT.glob("tests/frameworks/*/user_code.py"):
            shutil.copy(path, Path(folder, f"user_code_{path.parent.name}.py"))
        Path(folder, "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
        session.chdir(folder)
        session.run("mypy", "--strict", ".")
        session.run("pyright")


@nox.session
def types(session: nox.Session) -> None:
    """Types of everything here, and whether all that is public has them."""
    session.install("-e", ".[all]", "--group", "dev")
    session.run("mypy")
    session.run("mypy", "noxfile.py")
    session.run("pyright")
    session.run("pyright", "--verifytypes", "karla_receiver", "--ignoreexternal")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation site, strictly, into site/."""
    session.install("-e", ".[all]", "--group", "docs")
    session.run("python", ".ci/build_site.py")


@nox.session
def fuzz(session: nox.Session) -> None:
    """Fuzzing, in short."""
    session.install("-e", ".", "--group", "fuzzing")
    for target in ("signature", "decoding"):
        session.run("python", "-m", "fuzzing", target, "--seconds", "10")


@nox.session(venv_backend="none", requires=["readme"])
def demo(session: nox.Session) -> None:
    """The README's demo command. Makes .venv."""
    session.run("bash", "-euc", readme_command(1), external=True)


@nox.session
def lint(session: nox.Session) -> None:
    """Lint, and the format of the source."""
    session.install("--group", "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session(requires=["readme", "reaching"])
def coverage(session: nox.Session) -> None:
    """Branch coverage of `readme` and `reaching` together: 100 %."""
    session.install("coverage")
    session.run("coverage", "combine", "-q")
    session.run("coverage", "report")


@nox.session(allow_parallel=False)
def speed(session: nox.Session) -> None:
    """Benchmarks, in short: no ratio twice as bad as recorded."""
    session.install("-e", ".[all]", "--group", "benchmark")
    session.run("python", "-m", "benchmarks", "--short")


@nox.session(default=False)
def properties(session: nox.Session) -> None:
    """Each property with thousands of random examples; the suites draw the same few each time."""
    session.install(*ALL_EXTRAS)
    command = ["pytest", "-q", "-n", "2", "-m", "hypothesis"]
    session.run(*command, *session.posargs, env={"KARLA_EXAMPLES": "5000"})


@nox.session(default=False)
def mutants(session: nox.Session) -> None:
    """Mutation testing: every small change inside of the core's functions. Some ten minutes."""
    session.install(*ALL_EXTRAS, "--group", "mutation")
    shutil.rmtree(ROOT / "mutants", ignore_errors=True)
    session.run("mutmut", "run", *session.posargs, env=CORE_DOORS)
    session.run("python", ".ci/check_mutants.py")
