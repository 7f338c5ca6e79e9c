"""The plots of `docs/speed.md`, as SVG."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.tables import Row, Run

__all__ = ["draw"]

# Text stays text, and a run that measured the same draws the same bytes.
mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "karla-receiver", "font.size": 9})


def draw(run: Run, folder: Path) -> None:
    """Draw what the tables `growth` and `peers` hold; the ones that were not measured are left out.

    folder: made if it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    series: dict[str, list[Row]] = defaultdict(list)
    for table in run.tables:
        for row in table.rows:
            series[row.series].append(row)
    if "verify/size" in series:
        _draw_size(series, folder / "size.svg")
        _draw_counts(series, folder / "secrets-and-signatures.svg")
    if "karla-receiver" in series:
        peers = next(table for table in run.tables if table.name == "peers").rows
        _draw_peers(list(peers), folder / "peers.svg")


def _axes(title: str, x: str, y: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes: Any = figure.subplots()
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.grid(visible=True, alpha=0.3)
    return figure, axes


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None})


def _draw_size(series: dict[str, list[Row]], path: Path) -> None:
    figure, axes = _axes("Cost against the size of the body", "bytes", "µs")
    verify = series["verify/size"]
    axes.loglog([row.x for row in verify], [row.base for row in verify], "k--", label="hash floor")
    for label, name in (("verify", "verify/size"), ("receive", "receive/size")):
        rows = series[name]
        axes.loglog([row.x for row in rows], [row.cost for row in rows], "o-", label=label)
    axes.legend()
    _save(figure, path)


def _draw_counts(series: dict[str, list[Row]], path: Path) -> None:
    figure, axes = _axes(
        "Cost against the number of secrets and of v1 (2 KB)", "number", "hash floors"
    )
    for label, name in (("secrets", "secrets"), ("v1 in the header", "v1")):
        rows = series[name]
        axes.plot([row.x for row in rows], [row.best for row in rows], "o-", label=label)
    axes.set_ylim(bottom=0)
    axes.legend()
    _save(figure, path)


def _draw_peers(rows: list[Row], path: Path) -> None:
    figure, axes = _axes("Verifications a second and core, 2 KB", "thousands", "")
    measured = [(row, row.cost) for row in rows if row.x == 2048 and row.cost]
    ordered = sorted(measured, key=lambda each: -each[1])
    axes.barh([row.series for row, _ in ordered], [1000 / cost for _, cost in ordered])
    _save(figure, path)
