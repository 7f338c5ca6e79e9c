"""Prints the result and the seconds of each step in a report of nox.

Usage: python .ci/durations.py REPORT
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

for session in json.loads(Path(sys.argv[1]).read_text())["sessions"]:
    print(f"{session['duration']:6.0f} s  {session['result']:8} {session['name']}")
