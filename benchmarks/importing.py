"""What imports cost in fresh interpreters: of the package, and at a Lambda's cold start."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.deliveries import BODY, SECRET
from benchmarks.tables import Row, Table, at_most
from karla_receiver import sign

__all__ = ["importing"]

_TIMED = "import time; start = time.process_time()\n{}\nprint(time.process_time() - start)"
_LAMBDA = """
from karla_receiver.adapters.aws_lambda import webhook

@webhook({secret!r})
def handler(event, context):
    pass

answer = handler({invocation!r}, None)
assert answer["statusCode"] == 200, answer
"""


def importing(rounds: int) -> Table:
    """Compare our imports with those that nobody can do without."""
    rounds = max(20, rounds // 20)
    return Table(
        "import",
        "Imports in fresh interpreters",
        (
            _beside(
                1.25,
                "import karla_receiver, beside hmac, hashlib and msgspec",
                "import karla_receiver",
                "import hmac, hashlib, msgspec",
                rounds,
            ),
            _beside(
                1.35,
                "the Lambda adapter and its first delivery, beside importing the same and json",
                _LAMBDA.format(secret=SECRET, invocation=_invocation()),
                "import hmac, hashlib, msgspec, json",
                rounds,
            ),
        ),
    )


def _invocation() -> dict[str, object]:
    """Return the request of a function URL, with its signature."""
    return {
        "version": "2.0",
        "rawPath": "/",
        "headers": {"content-type": "application/json", "karla-signature": sign(BODY, SECRET)},
        "requestContext": {"http": {"method": "POST", "path": "/", "protocol": "HTTP/1.1"}},
        "body": BODY.decode(),
        "isBase64Encoded": False,
    }


def _beside(goal: float, name: str, ours: str, floor: str, rounds: int) -> Row:
    programs = [_TIMED.format(program) for program in (floor, ours)]
    taken: list[list[float]] = [[], []]
    for _ in range(rounds + 1):
        for seconds, program in zip(taken, programs, strict=True):
            seconds.append(_run(program))
    floors, seconds = (each[1:] for each in taken)  # the first may have compiled
    return at_most(goal, name, seconds, floors)


def _run(program: str) -> float:
    # -I: neither the environment nor this folder changes what is measured.
    command = [sys.executable, "-I", "-c", program]
    return float(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
