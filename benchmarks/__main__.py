"""Measure everything that the page `docs/speed.md` shows, as ratios within one run."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import msgspec

from benchmarks.machine import describe
from benchmarks.tables import Run, Table, formatted, gross_losses, recorded_ratios

_RECORD = Path(__file__).with_name("recorded.json")

# name: where it is, and the dependency group that it needs
_BENCHMARKS = {
    "verify": ("benchmarks.core:verifying", "tests"),
    "decode": ("benchmarks.core:decoding", "tests"),
    "receive": ("benchmarks.core:receiving", "tests"),
    "observe": ("benchmarks.core:observing", "tests"),
    "refuse": ("benchmarks.core:refusing", "tests"),
    "secrets": ("benchmarks.core:rotating", "tests"),
    "serving": ("benchmarks.serving:serving", "servers"),
    "paths": ("benchmarks.passing:passing", "tests"),
    "memory": ("benchmarks.memory:memory", "tests"),
    "import": ("benchmarks.importing:importing", "tests"),
    "growth": ("benchmarks.core:growth", "tests"),
    "peers": ("benchmarks.peers:peers", "peers"),
    "stores": ("benchmarks.stores:claiming", "tests"),
    "inbox": ("benchmarks.inbox:keeping", "tests"),
}
_NOT_IN_SHORT = {"growth", "peers"}
_ROUNDS, _SHORT_ROUNDS = 1500, 100
_TRIES = 3  # what others do on the machine is no loss: only what is lost each time is one


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for; return 1 if the short form found a gross loss."""
    options = _parser().parse_args(arguments)
    logging.getLogger("karla_receiver").addHandler(logging.NullHandler())
    names: list[str] = options.only or [
        name for name in _BENCHMARKS if not (options.short and name in _NOT_IN_SHORT)
    ]
    machine = describe()
    recorded = recorded_ratios(_RECORD.read_bytes()) if options.short else None
    tables = [_measured(name, recorded) for name in names]
    print("\n".join(f"{key}: {value}" for key, value in machine.items()))
    for table in tables:
        print(f"\n{formatted(table)}")
    run = Run(machine, tuple(tables))
    if options.json:
        text = msgspec.json.format(msgspec.json.encode(run), indent=1)
        options.json.write_bytes(text + b"\n")
    if options.plots:
        from benchmarks.plots import draw  # it needs matplotlib

        draw(run, options.plots)
    if recorded is None:
        return 0
    losses = gross_losses(tables, recorded)
    print("\n".join(["", *losses, f"{len(losses)} gross losses"]))
    return 1 if losses else 0


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
    place, group = _BENCHMARKS[name]
    module, _, function = place.partition(":")
    try:
        benchmark = getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as missing:
        raise SystemExit(
            f"{name} needs {missing.name}: pip install --group {group} (or leave it out, with"
            " --only)"
        ) from None
    return cast("Table", benchmark(rounds))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the tables there as well")
    parser.add_argument(
        "--plots", type=Path, metavar="FOLDER", help="draw growth and peers there, as SVG"
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
