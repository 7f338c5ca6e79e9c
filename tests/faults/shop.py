"""The process that is killed: it puts deliveries, handles them, and tells what was acknowledged."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

from karla_receiver import Event, Receiver
from karla_receiver.delivery import Delivery
from karla_receiver.inbox import SQLiteInbox
from karla_receiver.outcomes import current_attempt
from karla_receiver.sqlite.file import Session

PUTTERS = 8
HANDLERS = 2
PUTS = 40  # of each thread, so that handling keeps up


def delivery(key: str) -> Delivery:
    body = b'{"event_group":"parcel","filling":"%s"}' % (b"x" * 900)
    return Delivery(
        key=key,
        occurrence="",
        body=body,
        headers=(("karla-signature", "t=1,v1=" + "0" * 64),),
        received_at=1.0,
    )


def kill_myself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()  # whatever the other threads do meanwhile, this one does nothing more


class Failpoint:
    """Kills the process at the n-th time that a point is reached."""

    def __init__(self, point: str | None, number: int) -> None:
        self._point = point
        self._left = number
        self._lock = threading.Lock()

    def reach(self, point: str) -> None:
        if point != self._point:
            return
        with self._lock:
            self._left -= 1
            if self._left == 0:
                kill_myself()

    def install(self) -> None:
        """Put points around each commit, named by whose thread it is."""
        commit = Session.commit

        def reaching(session: Session) -> None:
            point = _kind_of_thread()
            self.reach(f"{point}: before commit")
            commit(session)
            self.reach(f"{point}: after commit")

        setattr(Session, "commit", reaching)  # noqa: B010 - in this process only


def _kind_of_thread() -> str:
    name = threading.current_thread().name
    if name == "karla-worker-books":
        return "take and settle"
    return "effect" if name.startswith("karla-worker") else "put"


def serve(path: Path, cycle: int, acknowledged: int, failpoint: Failpoint) -> None:
    """Put and handle until killed; write each acknowledged key to that file descriptor."""
    failpoint.install()
    inbox = make_shop(path, failpoint)

    def put_all(name: int) -> None:
        for number in range(PUTS):
            key = f"{cycle}-{name}-{number}"
            inbox.put(delivery(key))
            os.write(acknowledged, f"{key}\n".encode())

    inbox.start()
    threads = [threading.Thread(target=put_all, args=(name,)) for name in range(PUTTERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    signal.pause()


def make_shop(path: Path, failpoint: Failpoint | None = None) -> SQLiteInbox:
    """Return an inbox whose handler writes its effect twice: in the transaction, and in a file."""
    reach = failpoint.reach if failpoint else lambda _: None
    inbox = SQLiteInbox(path, workers=HANDLERS, lease=1, first_retry=0)
    receiver = Receiver("secret-of-the-shop", inbox=inbox)
    outside = os.open(path.with_suffix(".outside"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    @receiver.on("*")
    def take_effect(event: Event) -> None:
        reach("handler: before effect")
        attempt = current_attempt()
        os.write(outside, f"{attempt.key}\n".encode())
        attempt.transaction.execute("INSERT INTO effects VALUES (?)", (attempt.key,))
        reach("handler: between effect and mark")

    return inbox
