"""Where a database file lies: closed to other users, and with its write-ahead log beside it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from stat import S_IMODE
from typing import Final

from karla_receiver.observing.logs import logger

__all__ = ["close_to_others", "make_private", "refuse_lone_mount", "refuse_unwritable"]

_PRIVATE: Final = 0o600
_OTHERS: Final = 0o077
_WARNED: Final[set[str]] = set()

_HAS_EFFECTIVE_IDS: Final = os.access in os.supports_effective_ids  # not on Windows

_MOUNTS: Final = Path("/proc/self/mountinfo")
# As the kernel writes a path there, whose fields are separated by spaces.
_ESCAPES: Final = {"\\": r"\134", " ": r"\040", "\t": r"\011", "\n": r"\012"}


def make_private(path: str) -> None:
    """Make a file that only its owner may use, whatever the umask, if none is there.

    If it cannot be made, that is left for SQLite to find, and to explain.
    """
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, _PRIVATE)
        # Closing a file drops SQLite's locks on it (POSIX). On this one nobody has any yet.
        os.close(descriptor)
        Path(path).chmod(_PRIVATE)


def close_to_others(path: str) -> None:
    """Close a database, and the files that SQLite made beside it, to all but their owners.

    Logs a warning, once, if that is not allowed: the file is another user's.
    """
    # SQLite gives new files the database's mode. Those that are there already keep theirs.
    for name in (path, f"{path}-wal", f"{path}-shm"):
        file = Path(name)
        with suppress(FileNotFoundError):
            mode = S_IMODE(file.stat().st_mode)
            if mode & _OTHERS:
                _tighten(file, mode & ~_OTHERS)


def _tighten(file: Path, mode: int) -> None:
    try:
        file.chmod(mode)
    except PermissionError:
        if str(file) not in _WARNED:
            _WARNED.add(str(file))
            logger.warning(
                "other users can read %s, which may hold personal data, and this user cannot change"
                " its mode: run `chmod 600` as its owner",
                file,
            )


def refuse_unwritable(path: str) -> None:
    """Raise OSError unless this user may write to the file, and make others beside it.

    SQLite would open a file that can only be read, and fail at the first delivery.
    """
    for name in (path, str(Path(path).parent)):
        if Path(name).exists() and not os.access(name, os.W_OK, effective_ids=_HAS_EFFECTIVE_IDS):
            raise OSError(f"this user may not write to {name}")


def refuse_lone_mount(path: str) -> None:
    """Raise OSError if the file is a mount point by itself, as a container's single file is.

    Its write-ahead log would lie outside of the mount, in the directory beside it, and be gone with
    the container. Looked up by name: a file that is mounted from the same disk as its directory has
    the same device number.
    """
    escaped = "".join(_ESCAPES.get(character, character) for character in path)
    try:
        mounts = _MOUNTS.read_bytes().splitlines()
    except OSError:  # not Linux
        return
    if os.fsencode(escaped) in (line.split(b" ")[4] for line in mounts):
        raise OSError(
            "it is mounted as a single file, so what is written to the log beside it stays in the"
            " container and is lost with it: mount its directory"
        )
