"""Apps whose inbox says when a delivery has come to it, and keeps none before it is told to."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from karla_receiver import Receiver
from karla_receiver.adapters.asgi import KarlaApp as ASGIApp
from karla_receiver.adapters.wsgi import KarlaApp as WSGIApp
from karla_receiver.delivery import Delivery
from karla_receiver.inbox import Novelty, SQLiteInbox
from tests.signing import SECRET

FOLDER = "KARLA_ENDPOINT_FOLDER"
WORKERS = "KARLA_ENDPOINT_WORKERS"


class GatedInbox(SQLiteInbox):
    """Keeps nothing before there is a file `gate`; writes a byte to `came` for each delivery."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "karla.db", workers=int(os.environ[WORKERS]))
        self._gate = folder / "gate"
        self._came = folder / "came"

    def put(self, delivery: Delivery) -> Novelty:
        self._tell()
        while not self._gate.exists():
            time.sleep(0.01)
        return super().put(delivery)

    async def put_async(self, delivery: Delivery) -> Novelty:
        self._tell()
        while not self._gate.exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.01)
        return await super().put_async(delivery)

    def _tell(self) -> None:
        with self._came.open("ab", buffering=0) as came:
            came.write(b".")


def _make_receiver() -> Receiver:
    return Receiver(SECRET, inbox=GatedInbox(Path(os.environ[FOLDER])))


def make_asgi() -> ASGIApp:
    return ASGIApp(_make_receiver())


def make_wsgi() -> WSGIApp:
    return WSGIApp(_make_receiver())
