"""One run of the fuzzer: seeds laid out, the engine started, its report read."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fuzzing.promises import Target

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run came to.

    coverage: how many branches of the package were seen, by the seeds and in the end.
    kept: how many inputs reached something new, seeds included.
    crash: where the input is kept on which a promise was broken; None if none was.
    report: the end of what the engine printed.
    """

    executions: int
    seconds: float
    seed_coverage: int
    coverage: int
    kept: int
    crash: Path | None
    report: str


def run(
    target: Target, *, seconds: int, seed: int, corpus: Path | None, crashes: Path, verbose: bool
) -> Outcome:
    """Fuzz a target for some seconds, or until a promise is broken.

    corpus: a folder for the inputs found, to go on from next time; a temporary one if None.
    crashes: the folder for the input that breaks a promise.
    Raises RuntimeError if the engine did not run.
    """
    crashes.mkdir(parents=True, exist_ok=True)
    with _folders(target, corpus) as (found, seeds, dictionary):
        start = time.monotonic()
        status, lines = _engine(
            target.name,
            [
                f"-max_total_time={seconds}",
                f"-seed={seed}",
                f"-max_len={target.max_bytes}",
                f"-dict={dictionary}",
                f"-artifact_prefix={crashes.resolve()}/{target.name}-",
                "-timeout=20",  # seconds for one input: far beyond what any of them takes
                "-print_final_stats=1",
                str(found.resolve()),
                str(seeds),
            ],
            verbose=verbose,
        )
        spent = time.monotonic() - start
    report = "\n".join(lines)
    crash = re.search(r"Test unit written to (.+)", report)
    if status != 0 and crash is None:
        raise RuntimeError(f"the engine stopped with status {status}:\n{report}")
    coverage = _numbers(r"\bcov: (\d+)", report)
    return Outcome(
        executions=_numbers(r"stat::number_of_executed_units: (\d+)", report)[-1],
        seconds=spent,
        seed_coverage=coverage[0],
        coverage=coverage[-1],
        kept=_numbers(r"\bcorp: (\d+)", report)[-1],
        crash=Path(crash[1]) if crash else None,
        report=report,
    )


def _numbers(pattern: str, report: str) -> list[int]:
    # None if a seed was enough to break a promise.
    return [int(number) for number in re.findall(pattern, report)] or [0]


@contextmanager
def _folders(target: Target, corpus: Path | None) -> Generator[tuple[Path, Path, Path]]:
    with tempfile.TemporaryDirectory() as temporary:
        found = Path(temporary, "found") if corpus is None else corpus
        found.mkdir(parents=True, exist_ok=True)
        seeds = Path(temporary, "seeds")
        seeds.mkdir()
        for number, seed in enumerate(target.seeds()):
            (seeds / str(number)).write_bytes(seed)
        dictionary = Path(temporary, "tokens")
        dictionary.write_text("".join(f'"{_quoted(token)}"\n' for token in target.tokens))
        yield found, seeds, dictionary


def _quoted(token: bytes) -> str:
    return "".join(f"\\x{octet:02x}" for octet in token)


def _engine(name: str, arguments: Sequence[str], *, verbose: bool) -> tuple[int, list[str]]:
    first: list[str] = []
    last: deque[str] = deque(maxlen=200)
    with subprocess.Popen(
        [sys.executable, "-m", "fuzzing.engine", name, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as engine:
        assert engine.stdout is not None
        for line in map(str.rstrip, engine.stdout):
            if verbose:
                print(line, flush=True)
            if "INITED" in line:
                first.append(line)
            last.append(line)
    return engine.returncode, [*first, *last]
