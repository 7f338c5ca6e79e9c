"""Kill receivers at random and at named points, and count what was lost or doubled.

Usage: python -m tests.faults [--cycles 1000] [--each-point 50] [--directory DIR]

Each cycle forks a process in which 8 threads put deliveries and 2 handle them, kills it with
SIGKILL, and looks into the file. Writes one line of JSON; the exit status is 1 if anything that
was acknowledged is not stored, or had its effect in the transaction not exactly once.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests.faults.killing import POINTS, Killing


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--cycles", type=int, default=1000, help="kills at random moments")
    parser.add_argument("--each-point", type=int, default=50, help="kills at each named point")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--directory", type=Path, default=None, help="on the disk to test")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        killing = Killing(Path(directory) / "karla.db", seed=options.seed)
        for _ in range(options.cycles):
            killing.kill_at_random()
        for point in POINTS:
            for _ in range(options.each_point):
                killing.kill_at(point)
        count = killing.drain_and_count()
    sys.stdout.write(json.dumps(count.as_dict()) + "\n")
    return 0 if count.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
