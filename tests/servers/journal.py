"""What a served app writes down, line by line, for the tests that sent it something to read."""

from __future__ import annotations

import logging
import os
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "KARLA_TEST_JOURNAL"

# The case that is being served, as nothing in a log record says so.
serving: ContextVar[str] = ContextVar("serving", default="-")


@dataclass(frozen=True)
class Entry:
    """One line. kind: made, called or refused; detail: the reason of a refusal."""

    kind: str
    case: str
    process: int
    detail: str


class Journal:
    """A file that several processes append to: a line is one write, so none is torn."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_APPEND | os.O_CREAT | os.O_RDWR)

    @classmethod
    def of_this_server(cls) -> Journal:
        """Return the journal that this process was started with."""
        return cls(Path(os.environ[VARIABLE]))

    def write(self, kind: str, case: str, detail: str = "") -> None:
        os.write(self._descriptor, f"{kind}\t{case}\t{os.getpid()}\t{detail}\n".encode())

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def since(self, start: int, case: str | None = None) -> list[Entry]:
        """Return the lines from a size on; of one case, or all."""
        text = os.pread(self._descriptor, self.size() - start, start).decode()
        fields = [line.split("\t") for line in text.splitlines()]
        entries = [Entry(kind, name, int(pid), detail) for kind, name, pid, detail in fields]
        return [entry for entry in entries if case in {None, entry.case}]

    def close(self) -> None:
        os.close(self._descriptor)


class ReasonsToJournal(logging.Handler):
    """Writes down the reason of each refusal that the receiver logs."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        reason = getattr(record, "reason", None)
        if reason is not None:
            self._journal.write("refused", serving.get(), reason)
