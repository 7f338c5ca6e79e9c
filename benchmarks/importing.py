"""What the import costs, in fresh interpreters, and that it brings nothing big along."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.slices import Samples
from benchmarks.tables import Table, at_most, figure

__all__ = ["importing"]

_FLOOR = "import hmac, hashlib, msgspec"
_OURS = "import karla_receiver"
_TIMED = "import time; t = time.perf_counter(); {}; print(time.perf_counter() - t)"
_LISTED = "import sys, karla_receiver; print(*sys.modules)"
_BIG = {
    "aiohttp", "asyncio", "django", "fastapi", "flask", "httpx", "httpx2", "quart", "requests",
    "rich", "sqlite3", "starlette", "typer", "urllib3", "uvicorn", "waitress", "werkzeug",
}  # fmt: skip


def importing(rounds: int) -> Table:
    """Compare our import with what it cannot do without."""
    floors: list[float] = []
    ours: list[float] = []
    for _ in range(max(6, rounds // 20)):
        floors.append(float(_run(_TIMED.format(_FLOOR))))
        ours.append(float(_run(_TIMED.format(_OURS))))
    loaded = {name.partition(".")[0] for name in _run(_LISTED).split()}
    return Table(
        "import",
        "`import karla_receiver` beside `import hmac, hashlib, msgspec`",
        (
            at_most(1.15, "import karla_receiver", Samples(ours), Samples(floors)),
            figure(0, "frameworks and clients imported with it", len(loaded & _BIG)),
        ),
    )


def _run(program: str) -> str:
    # -I: neither the environment nor this folder changes what is measured.
    command = [sys.executable, "-I", "-c", program]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout
