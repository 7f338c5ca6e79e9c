from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.killing import POINTS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent


def test_what_is_acknowledged_survives_kill_9_and_takes_effect_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.faults", "--cycles", "40", "--each-point", "2"]
    run = subprocess.run(
        [*command, "--directory", str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr
    count = json.loads(run.stdout)
    assert count["kills"] == 40 + 2 * len(POINTS)
    # A process is killed at a random moment after its first acknowledgement, or at a point.
    assert count["acknowledged"] >= 40
    assert (count["lost"], count["doubled"], count["integrity"]) == (0, 0, "ok")
