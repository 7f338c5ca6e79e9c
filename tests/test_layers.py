"""Who may import whom: read from the imports themselves."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import karla_receiver
from tests.frameworks.chosen import FRAMEWORKS

PACKAGE = Path(karla_receiver.__file__).parent
# From the ground up: a room imports only rooms of the lines above its own.
LAYERS = (
    {"errors", "events", "vocabulary"},
    {"checks", "delivery", "outcomes", "patterns", "samples"},
    {"decoding", "observing", "request", "signature"},
    {"explain", "sqlite", "threads"},
    {"idempotency", "runners"},
    {"handlers"},
    {"inbox"},
    {"stages"},
    {"receiver"},
    {"__init__", "registration", "views"},
    {"adapters"},
    {"testing"},
    {"cli"},
    {"__main__", "__pyinstaller"},
)
LAYER = {room: number for number, rooms in enumerate(LAYERS) for room in rooms}
MODULES = sorted(
    path
    for folder in (PACKAGE, PACKAGE / "adapters")
    for path in folder.rglob("*.py")
    if "__pycache__" not in path.parts
)
# The rooms that do no I/O: a delivery passes through them on its way to the handlers.
CORE_ROOMS = ("handlers", "observing", "signature", "views")
CORE = [
    *(path for path in PACKAGE.glob("*.py") if path.name != "__main__.py"),
    *(path for room in CORE_ROOMS for path in (PACKAGE / room).glob("*.py")),
]
SAMPLES = sorted((PACKAGE / "samples").glob("*.py"))
TEST_KIT = sorted((PACKAGE / "testing").glob("*.py"))
EXPLAIN = sorted((PACKAGE / "explain").glob("*.py"))
ADAPTERS = sorted((PACKAGE / "adapters").glob("[!_]*.py")) + sorted(
    (PACKAGE / "adapters").glob("*/**/*.py")
)

# What an adapter may import beside the standard library and the core.
FOREIGN: dict[str, frozenset[str]] = {
    "asgi": frozenset(),
    "wsgi": frozenset(),
    "opentelemetry": frozenset({"opentelemetry"}),
    "prometheus": frozenset({"prometheus_client"}),
    "redis": frozenset({"redis"}),
    "celery": frozenset({"celery", "kombu", "msgspec"}),
    **{name: framework.imports for name, framework in FRAMEWORKS.items()},
}
# What a module of the test kit may import beside the standard library, msgspec and this package.
TESTING: dict[str, set[str]] = {
    "fake_karla": {"httpx2", "pytest_httpserver", "werkzeug"},
    "fake_sending": {"httpx2"},
    "plugin": {"pytest"},
    "strategies": {"hypothesis"},
}


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} has a relative import"
            assert node.module
            found.add(node.module)
            if node.module == "karla_receiver":
                found.update(f"karla_receiver.{alias.name}" for alias in node.names)
    return found


def foreign(path: Path) -> set[str]:
    names = {name.partition(".")[0] for name in imports(path)}
    return names - set(sys.stdlib_module_names) - {"karla_receiver"}


def room_of(path: Path) -> str:
    """Return the room that a module is in; commands of manage.py and flask are programs."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "cli" if {"management", "commands"} & {*parts} else parts[0]


def name_of(path: Path) -> str:
    name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    return name.removesuffix(".__init__")


NAMES = {name_of(path) for path in MODULES}


def modules_known_to(path: Path) -> set[str]:
    """Return the modules of ours that a module imports, also for types alone or in a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found.update(inner & NAMES)
            if inner - NAMES:
                found.add(node.module)
    return found & NAMES - {name_of(path)}


def room_named(module: str) -> str:
    return [*module.split("."), "__init__"][1]


def adapter_of(path: Path) -> str:
    return path.relative_to(PACKAGE / "adapters").parts[0].removesuffix(".py")


def test_there_is_something_to_check() -> None:
    assert len(CORE) > 10
    assert {adapter_of(path) for path in ADAPTERS} == set(FOREIGN)


def test_every_room_has_its_layer() -> None:
    assert {room_of(path) for path in MODULES} == LAYER.keys()
    assert len([*PACKAGE.glob("*.py")]) <= 16, "a stranger looks through these names"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_knows_rooms_below_its_own_only(path: Path) -> None:
    others = {room_named(name) for name in modules_known_to(path)} - {room_of(path)}
    assert [room for room in others if LAYER[room] >= LAYER[room_of(path)]] == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    left = {name_of(path): modules_known_to(path) for path in MODULES}
    while free := {name for name, known in left.items() if not known & left.keys()}:
        left = {name: known for name, known in left.items() if name not in free}
    assert left == {}


@pytest.mark.parametrize("path", [*CORE, *SAMPLES, *EXPLAIN], ids=lambda path: path.stem)
def test_the_core_imports_the_standard_library_and_msgspec_only(path: Path) -> None:
    assert foreign(path) <= {"msgspec"}


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.stem)
def test_the_core_does_no_io(path: Path) -> None:
    assert not imports(path) & {"select", "socket", "sqlite3", "ssl", "subprocess", "threading"}


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.stem)
def test_the_core_never_imports_what_is_built_on_it(path: Path) -> None:
    upwards = ("adapters", "cli", "explain", "samples", "sqlite", "testing", "registration")
    assert not {
        name
        for name in imports(path)
        for part in upwards
        if name.startswith(f"karla_receiver.{part}")
    }


@pytest.mark.parametrize("path", ADAPTERS, ids=lambda path: path.stem)
def test_an_adapter_imports_its_framework_and_the_core_only(path: Path) -> None:
    assert foreign(path) <= FOREIGN[adapter_of(path)]
    if {"management", "commands.py"} & {*path.parts}:
        return  # commands of manage.py and flask, which are programs
    assert not any(name.startswith("karla_receiver.cli") for name in imports(path))


@pytest.mark.parametrize("path", TEST_KIT, ids=lambda path: path.stem)
def test_the_test_kit_imports_its_tools_only_where_they_are_used(path: Path) -> None:
    assert foreign(path) - {"msgspec"} <= TESTING.get(path.stem, set())
    assert not any(name.startswith("karla_receiver.cli") for name in imports(path))


@pytest.mark.parametrize("path", [*CORE, *ADAPTERS], ids=lambda path: path.stem)
def test_no_request_can_reach_the_explanations(path: Path) -> None:
    assert not any(name.startswith("karla_receiver.explain") for name in imports(path))


def test_importing_the_package_brings_no_framework_along() -> None:
    program = "import sys, karla_receiver; print(*sys.modules)"
    # Coverage, which starts by itself in each process, uses SQLite.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, env=env)
    loaded = {name.partition(".")[0] for name in run.stdout.decode().split()}

    assert "msgspec" in loaded
    of_clients = {"typer", "rich", "httpx", "httpx2", "requests", "urllib3", "uvicorn", "waitress"}
    at_use = {"asyncio", "sqlite3"}
    of_adapters = {name for names in FOREIGN.values() for name in names} - {"msgspec"}
    assert not loaded & (of_clients | at_use | of_adapters)


def test_nothing_called_adapters_is_installed_at_the_top() -> None:
    assert find_spec("karla_receiver.adapters.flask") is not None
    installed = [entry for entry in sys.path if "site-packages" in entry]
    assert not any((Path(entry) / "adapters").exists() for entry in installed)
