"""Counts what `mutmut run` left in mutants/, and fails for a survivor that is not explained.

Usage: python .ci/check_mutants.py

Explanations are in .ci/surviving_mutants.json: a line, what it may become unnoticed, and why. The
first argument of cast() needs none: it is for type checkers, and nothing at run time.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

EXPLAINED = Path(__file__).with_name("surviving_mutants.json")
LEAST_KILLED = 0.95
# A mutant that hangs was noticed, if late.
NOTICED = {"killed", "timeout"}
_CAST = re.compile(r'\bcast\((?:None|"[^"]*")')


def mutmut(*arguments: str) -> list[str]:
    """Return the lines that mutmut prints."""
    run = subprocess.run(
        [sys.executable, "-m", "mutmut", *arguments], capture_output=True, text=True, check=True
    )
    return run.stdout.splitlines()


def change_of(mutant: str) -> tuple[str, str]:
    """Return the lines that a mutant takes away and puts in their place."""
    lines = [line for line in mutmut("show", mutant) if not line.startswith(("---", "+++"))]
    old, new = ([line[1:].strip() for line in lines if line.startswith(sign)] for sign in "-+")
    return "\n".join(old), "\n".join(new)


def is_equivalent(change: tuple[str, str], explained: set[tuple[str, str]]) -> bool:
    """Return whether a change is explained, or is one of a cast's type."""
    old, new = (_CAST.sub("cast(", line) for line in change)
    return change in explained or old == new


def main() -> None:
    """Print a line for each module, and each survivor that needs a test or an explanation."""
    explained = {
        (entry["line"], becomes)
        for entry in json.loads(EXPLAINED.read_text())
        for becomes in entry["becomes"]
    }
    outcomes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    found: list[str] = []
    for line in mutmut("results", "--all", "true"):
        mutant, _, outcome = line.strip().rpartition(": ")
        if not mutant:
            continue
        is_explained = outcome == "survived" and is_equivalent(change_of(mutant), explained)
        module = ".".join(mutant.split(".")[:2])
        outcomes[module]["explained" if is_explained else outcome] += 1
        if outcome not in NOTICED and not is_explained:
            found.append(f"{outcome}: {mutant}")
    total: Counter[str] = Counter()
    for module, counts in sorted(outcomes.items()):
        print(f"{module:30} {counts.total():5} made", _said(counts), sep=", ")
        total.update(counts)
    killed = sum(total[outcome] for outcome in NOTICED)
    print(f"{'all':30} {total.total():5} made", _said(total), sep=", ")
    if found or killed < LEAST_KILLED * total.total():
        sys.exit("\n".join(["", *found, f"{killed} of {total.total()} mutants were noticed"]))


def _said(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common())


if __name__ == "__main__":
    main()
