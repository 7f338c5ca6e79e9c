"""The package where it is packed, or cloned, in unusual ways."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import karla_receiver
from karla_receiver import samples
from karla_receiver.__pyinstaller import get_hook_dirs

ROOT = Path(__file__).parent.parent

PROGRAM = """
from karla_receiver import samples
from karla_receiver.registration import KarlaAPI
print(len(samples.read("shipment_delivered")))
"""


def test_the_hook_packs_every_data_file() -> None:
    pytest.importorskip("PyInstaller")
    (folder,) = get_hook_dirs()
    (hook,) = Path(folder).glob("hook-*.py")
    # By a name within the package, so that its coverage counts.
    found = runpy.run_path(str(hook), run_name="karla_receiver.__pyinstaller.hook")
    packed = {Path(source).name for source, _ in found["datas"]}
    package = Path(karla_receiver.__file__).parent
    assert {path.name for path in package.rglob("*.json")} <= packed


@pytest.mark.slow
def test_a_program_made_by_pyinstaller_finds_the_samples(tmp_path: Path) -> None:
    pytest.importorskip("PyInstaller")
    (tmp_path / "shop.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "PyInstaller", "--log-level", "ERROR", "shop.py"]
    subprocess.run(command, check=True, cwd=tmp_path)
    made = tmp_path / "dist" / "shop" / "shop"
    run = subprocess.run([made], capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == (f"{len(samples.read('shipment_delivered'))}\n", "")


@pytest.mark.slow
@pytest.mark.parametrize("has_links", [True, False])
def test_a_clone_without_links_is_refused_with_the_remedy(tmp_path: Path, has_links: bool) -> None:
    clone = tmp_path / "clone"
    clone.mkdir()
    for name in ("karla_receiver", "adapters"):
        shutil.copytree(ROOT / name, clone / name, symlinks=True)
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone / name)
    if not has_links:  # as Git on Windows leaves it
        link = clone / "karla_receiver" / "adapters"
        link.unlink()
        link.write_text("../adapters")
    target = ("--no-deps", "--target", str(tmp_path / "installed"))
    command = [sys.executable, "-m", "pip", "install", *target, "-e", str(clone)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode == 0) is has_links, run.stderr
    assert ("run `git config core.symlinks true`" in run.stdout + run.stderr) is not has_links
