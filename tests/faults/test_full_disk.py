"""A small file system that fills up while deliveries come. Mounting one needs a privilege."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from karla_receiver.errors import StorageError
from karla_receiver.inbox import SQLiteInbox
from tests.inbox.stock import delivery, query, states

pytestmark = pytest.mark.slow

BODY = bytes(2000)
_CAP_SYS_ADMIN = 21


def may_mount() -> bool:
    """Return whether this process has what root has, unless it is root in a container."""
    status = Path("/proc/self/status")
    if not status.exists():
        return False
    (held,) = (line for line in status.read_text().splitlines() if line.startswith("CapEff:"))
    return bool(int(held.split()[1], 16) >> _CAP_SYS_ADMIN & 1)


@pytest.fixture(name="small_disk")
def _small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["/bin/umount", "--lazy", place], check=True)


def put_until_refused(inbox: SQLiteInbox, name: str) -> list[str]:
    """Return the keys that were acknowledged before the disk was full."""
    kept: list[str] = []
    while True:
        key = f"{name}-{len(kept)}"
        try:
            assert inbox.put(delivery(key, body=BODY)) == "new"
        except StorageError as error:
            assert "full" in str(error), error
            return kept
        kept.append(key)


@pytest.mark.skipif(not may_mount(), reason="mounting takes a privilege of root")
def test_a_small_disk_that_is_full_refuses_until_there_is_room(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(300_000))
    path = small_disk / "karla.db"
    inbox = SQLiteInbox(path)
    kept = put_until_refused(inbox, "first")
    assert len(kept) > 10
    for number in range(20):
        with pytest.raises(StorageError, match="full"):
            inbox.put(delivery(f"refused-{number}", body=BODY))

    ballast.unlink()
    assert inbox.put(delivery("after", body=BODY)) == "new"
    kept += ["after", *put_until_refused(inbox, "second")]
    inbox.close()
    assert set(kept) <= set(states(path))
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    print(f"{len(kept)} acknowledged, {len(set(kept) - set(states(path)))} lost")  # noqa: T201
