"""What the operating system is asked for before an answer is sent, by the account of strace."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.faults.serving import SERVERS, deliver, serving
from tests.inbox.stock import states
from tests.waiting import until

pytestmark = pytest.mark.slow

DELIVERIES = 25
CALLS = "pwrite64,pwritev,fsync,fdatasync,write,writev,sendto,sendmsg"

_CALL = re.compile(r"(\d+) +(?:<\.\.\. )?(\w+)(?: resumed>|\()(.*)")


def calls(trace: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield each call's name and what strace says of it: of writes and answers at their begin,
    of flushes at their end and only if they succeeded."""
    begun: dict[tuple[str, str], str] = {}
    for line in trace:
        if (match := _CALL.match(line)) is None:
            continue
        process, name, rest = match.groups()
        is_flush = name in ("fsync", "fdatasync")
        if " resumed>" in line:
            rest = begun.pop((process, name), "") + rest if is_flush else ""
        elif is_flush and rest.endswith("<unfinished ...>"):
            begun[process, name] = rest
        if not is_flush or rest.endswith("= 0"):
            yield name, rest


def orders(trace: Iterable[str], log: str) -> list[str]:
    """Return what was done to the log before each answer of 200: `write flush`, if all is well."""
    answers: list[str] = []
    done: list[str] = []
    for name, rest in calls(trace):
        what = ""
        if f"<{log}>" in rest:
            what = "flush" if name in ("fsync", "fdatasync") else "write"
        elif '"HTTP/1.1 200' in rest:
            answers.append(" ".join(done))
            done = []
        if what and done[-1:] != [what]:
            done.append(what)
    return answers


def test_an_answer_before_the_flush_is_noticed() -> None:
    log, answer = "/x/karla.db-wal", '7 sendto(5<TCP:[1]>, "HTTP/1.1 200 OK"..., 99, 0) = 99'
    write = f'7 pwrite64(4<{log}>, "x"..., 9, 0) = 9'
    flush = f"7 fdatasync(4<{log}>) = 0"
    failed = f"7 fdatasync(4<{log}>) = -1 EIO (Input/output error)"
    # On a busy machine strace tells the begin of a call and its end in two lines.
    split_write = [
        f'7 pwrite64(4<{log}>, "x"..., 9, 0 <unfinished ...>',
        "8 write(9</x/other>, 1, 1) = 1",
        "7 <... pwrite64 resumed>) = 9",
    ]
    split_answer = [
        '7 sendto(5<TCP:[1]>, "HTTP/1.1 200 OK"..., 99, 0 <unfinished ...>',
        "7 <... sendto resumed>) = 99",
    ]
    late = [f"8 fdatasync(4<{log}> <unfinished ...>", answer, "8 <... fdatasync resumed>) = 0"]
    for trace, expected in (
        ([write, flush, answer], ["write flush"]),
        ([write, answer, flush], ["write"]),
        ([write, failed, answer], ["write"]),
        ([write, flush, write, answer], ["write flush write"]),
        ([write, *late], ["write"]),
        ([answer], [""]),
        ([*split_write, flush, *split_answer], ["write flush"]),
        ([write, flush, *split_answer, write, flush, answer], ["write flush"] * 2),
    ):
        assert orders(trace, log) == expected


@pytest.mark.parametrize("name", SERVERS)
def test_the_log_is_flushed_before_each_answer(name: str, tmp_path: Path) -> None:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed (Debian: apt-get install strace)")
    (tmp_path / "gate").touch()
    trace = tmp_path / "trace"
    under = (strace, "-f", "-y", "-s", "16", "-e", f"trace={CALLS}", "-o", str(trace))
    with serving(name, tmp_path, workers=0, under=under) as (_, port):
        assert [deliver(port, number) for number in range(DELIVERIES)] == [200] * DELIVERIES
        until(lambda: trace.read_text().count('"HTTP/1.1 200') == DELIVERIES)
        first, *others = orders(trace.read_text().splitlines(), f"{tmp_path / 'karla.db'}-wal")
    assert first.endswith("write flush")  # after those of the tables
    assert others == ["write flush"] * (DELIVERIES - 1)
    print(f"{name}: {DELIVERIES} answers, each after its flush")  # noqa: T201 - pytest -s
    assert len(states(tmp_path / "karla.db")) == DELIVERIES
