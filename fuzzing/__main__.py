"""The command line: python -m fuzzing --help."""

from __future__ import annotations

import argparse
import re
import secrets
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from fuzzing import campaign
from fuzzing.promises import Target
from fuzzing.targets import TARGETS

EPILOG = """\
targets:
{targets}

A run starts from the cases of karla_receiver/testing/attacks.json and the samples, and changes
them; an input that reaches a new branch of the package is kept and changed further. Each is judged
by a second, naive implementation in tests/reference.py. "planted" is there to see that the fuzzer
can fail.

examples:
  python -m fuzzing signature --seconds 30                 a short run, as in .ci/run
  python -m fuzzing decoding --seconds 3600 --corpus .fuzzing/decoding
                                                           a long one; the next goes on from there
  python -m fuzzing decoding --input .fuzzing/decoding-crash-...
                                                           one input again, with its traceback

exit status: 0 no promise was broken, 1 one was (the input is kept, and named), 2 wrong usage.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = _parser().parse_args(arguments)
    target = TARGETS[options.target]
    if options.input is not None:
        print(f"{options.input}: {target.check(options.input.read_bytes())}; no promise broken")
        return 0
    if find_spec("atheris") is None:
        print(
            "The fuzzer is not installed: pip install --group fuzzing (Linux on x86-64 only).\n"
            "Without it, --input still checks one input.",
            file=sys.stderr,
        )
        return 2
    return _fuzz(target, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fuzzing",
        description="Look for an input on which the package breaks a promise.",
        epilog=EPILOG.format(
            targets="\n".join(f"  {target.name:10} {target.about}" for target in TARGETS.values())
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("target", choices=TARGETS, help="what to fuzz: see below")
    parser.add_argument(
        "--seconds", type=_positive, default=60, help="how long, at most (default: %(default)s)"
    )
    parser.add_argument(
        "--seed",
        type=_positive,
        help="for the fuzzer's random numbers, 1 to 2**32 - 1 (default: any; it is printed)",
    )
    parser.add_argument(
        "--corpus", type=Path, help="folder to keep inputs in that reached something new"
    )
    parser.add_argument(
        "--crashes",
        type=Path,
        default=Path(".fuzzing"),
        help="folder for an input that breaks a promise (default: %(default)s)",
    )
    parser.add_argument("--verbose", action="store_true", help="show what libFuzzer prints")
    parser.add_argument("--input", type=Path, help="check this file only, without the fuzzer")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if not 1 <= number < 2**32:
        raise argparse.ArgumentTypeError(f"{text} is not between 1 and 2**32 - 1")
    return number


def _fuzz(target: Target, options: argparse.Namespace) -> int:
    seed = options.seed or secrets.randbelow(2**32 - 1) + 1
    outcome = campaign.run(
        target,
        seconds=options.seconds,
        seed=seed,
        corpus=options.corpus,
        crashes=options.crashes,
        verbose=options.verbose,
    )
    print(
        f"{target.name}: {outcome.executions:,} executions in {outcome.seconds:.0f} s,"
        f" {outcome.coverage} branches seen ({outcome.seed_coverage} by the seeds),"
        f" {outcome.kept} inputs kept, seed {seed}"
    )
    if outcome.crash is None:
        print("no promise broken")
        return 0
    print(
        f"A promise is broken: {_error(outcome.report)}\n"
        "The input is kept. Look at it again, with its traceback:\n"
        f"  python -m fuzzing {target.name} --input {outcome.crash}",
    )
    return 1


def _error(report: str) -> str:
    # A line under this heading; without one the engine itself gave up, for time or memory.
    found = re.search(r"Uncaught Python exception: ===\n(.+)", report)
    return found[1] if found else report[-2000:]


if __name__ == "__main__":
    sys.exit(main())
