"""What uWSGI serves: a shop with an inbox, made before the workers are forked off.

USED_BEFORE_THE_FORK says what happens to the inbox while the app is loaded: put, start, nothing.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from karla_receiver import Receiver
from karla_receiver.adapters.wsgi import KarlaMiddleware
from karla_receiver.inbox import SQLiteInbox
from tests.signing import SECRET, signed

logging.basicConfig()
inbox = SQLiteInbox("karla.db", workers=int(os.environ["INBOX_WORKERS"]))
receiver = Receiver(SECRET, inbox=inbox)
receiver.on("*")(lambda event: None)

used = os.environ["USED_BEFORE_THE_FORK"]
if used == "put":
    assert receiver.receive(signed()).status == 200
elif used == "start":
    inbox.start()


def shop(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]


application = KarlaMiddleware(shop, receiver)
