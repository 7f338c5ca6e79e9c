"""What a delivery costs on many machines: CPU time of each program, over real servers.

Usage: python -m benchmarks.many_machines [DELIVERIES]

Two web processes and two workers with two processes each, RabbitMQ, and Redis with every write
on disk, all on this machine. CPU time, because wall time says more of who else is busy here.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.many_machines.machines import ROOT, Machines, lines, machines, order, send
from tests.many_machines.rabbitmq_server import running_rabbitmq
from tests.many_machines.redis_server import running_redis
from tests.signing import SECRET

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(*sessions: int) -> float:
    """Return the CPU time of all processes that run in these sessions."""
    spent = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[3]) in sessions:
            spent += int(fields[11]) + int(fields[12])
    return spent / TICKS


def deliver(running: Machines, effects: Path, numbers: range) -> float:
    """Send so many deliveries at once; return after how many seconds all were handled."""
    start = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(lambda number: send(running.port, order(number), SECRET), numbers))
    assert set(statuses) == {200}, set(statuses)  # noqa: S101
    while len(lines(effects)) < numbers.stop - 1_000_000:
        time.sleep(0.05)
    return time.monotonic() - start


def main() -> None:
    """Print the table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    with (
        tempfile.TemporaryDirectory() as folder,
        running_rabbitmq() as rabbitmq,
        running_redis(appendonly=True) as redis,
    ):
        effects = Path(folder, "effects")
        environment = {
            "BROKER_URL": rabbitmq.url,
            "REDIS_URL": redis.url,
            "EFFECTS": str(effects),
            "HANDLING_SECONDS": "0",
        }
        with machines("tests.many_machines.shop", ROOT, environment) as running:
            deliver(running, effects, range(1_000_000, 1_000_200))  # what is done once
            programs = {
                "web": [web.pid for web in running.webs],
                "workers": [worker.pid for worker in running.workers],
                "RabbitMQ": rabbitmq.pids,
                "Redis": [redis.pid],
            }
            before = {name: cpu_seconds(*pids) for name, pids in programs.items()}
            memory = redis.client().info("memory")["used_memory"]
            seconds = deliver(running, effects, range(1_000_200, 1_000_200 + count))
            grown = redis.client().info("memory")["used_memory"] - memory
            print(f"{count} deliveries of {len(order(1))} bytes in {seconds:.1f} s")
            for name, pids in programs.items():
                spent = (cpu_seconds(*pids) - before[name]) / count
                print(
                    f"  {name:10} {spent * 1e6:7.0f} µs of CPU a delivery,"
                    f" {spent * 1e6 / 3600:5.2f} h a million"
                )
            print(f"  Redis holds {grown / count:.0f} bytes more for each")


if __name__ == "__main__":
    main()
