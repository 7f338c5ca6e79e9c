"""Measure everything that the page `docs/speed.md` shows, as ratios within one run."""

from __future__ import annotations

import argparse
import importlib
import logging
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import msgspec

from benchmarks.machine import describe
from benchmarks.tables import Run, Table, formatted, gross_losses, recorded_ratios

_RECORD = Path(__file__).with_name("recorded.json")
_PAGE = Path(__file__).parents[1] / "docs" / "speed.md"

_BENCHMARKS = {
    "verify": "benchmarks.core:verifying",
    "decode": "benchmarks.core:decoding",
    "receive": "benchmarks.core:receiving",
    "middleware": "benchmarks.middleware:middleware",
    "serving": "benchmarks.serving:serving",
    "import": "benchmarks.importing:importing",
    "memory": "benchmarks.memory:memory",
    "stores": "benchmarks.stores:claiming",
    "inbox": "benchmarks.inbox:keeping",
}
_ROUNDS, _SHORT_ROUNDS = 1500, 200
_TRIES = 3  # what others do on the machine is no loss: only what is lost each time is one


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for; return 1 if the short form found a gross loss."""
    options = _parser().parse_args(arguments)
    logging.getLogger("karla_receiver").addHandler(logging.NullHandler())
    machine = describe()
    recorded = recorded_ratios(_RECORD.read_bytes()) if options.short else None
    tables = [_measured(name, recorded) for name in options.only or _BENCHMARKS]
    print("\n".join(f"{key}: {value}" for key, value in machine.items()))
    for table in tables:
        print(f"\n{formatted(table)}")
    if options.record:
        _RECORD.write_bytes(with_tables(_RECORD.read_bytes(), machine, tables))
        _PAGE.write_text(page_with_tables(_PAGE.read_text(), tables))
    if recorded is None:
        return 0
    losses = gross_losses(tables, recorded)
    print("\n".join(["", *losses, f"{len(losses)} gross losses"]))
    return 1 if losses else 0


def with_tables(run: bytes, machine: dict[str, str], tables: Sequence[Table]) -> bytes:
    """Return the run with these tables in place of those of the same names, as JSON."""
    recorded = {table.name: table for table in msgspec.json.decode(run, type=Run).tables}
    recorded |= {table.name: table for table in tables}
    kept = tuple(recorded[name] for name in _BENCHMARKS if name in recorded)
    return msgspec.json.format(msgspec.json.encode(Run(machine, kept)), indent=1) + b"\n"


def page_with_tables(page: str, tables: Sequence[Table]) -> str:
    """Return the page with these tables in place of those of the same titles."""
    for table in tables:
        old = rf"^### {re.escape(table.title)}\n\n(\|.*\n)+"
        page = re.sub(old, f"{formatted(table)}\n", page, flags=re.MULTILINE)
    return page


def _measured(name: str, recorded: Mapping[str, float] | None) -> Table:
    """Run one benchmark: in full, or against what is recorded in short, and then again if lost."""
    print(f"measuring {name} ...", file=sys.stderr, flush=True)
    if recorded is None:
        return _run(name, _ROUNDS)
    table = _run(name, _SHORT_ROUNDS)
    for _ in range(1, _TRIES):
        if not gross_losses([table], recorded):
            break
        print(f"measuring {name} again ...", file=sys.stderr, flush=True)
        table = _run(name, _SHORT_ROUNDS)
    return table


def _run(name: str, rounds: int) -> Table:
    module, _, function = _BENCHMARKS[name].partition(":")
    try:
        benchmark = getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as missing:
        raise SystemExit(
            f"{name} needs {missing.name}: pip install --group benchmark (or leave it out, with"
            " --only)"
        ) from None
    return cast("Table", benchmark(rounds))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--record", action="store_true", help="write the tables into recorded.json and the page"
    )
    parser.add_argument(
        "--short",
        action="store_true",
        help="take about a minute, and fail only if a ratio is twice as bad as recorded",
    )
    parser.add_argument(
        "--only", action="append", choices=_BENCHMARKS, help="one of them; may be repeated"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
