"""A legacy WSGI app that parses webhooks itself, wrapped so that only verified ones reach it.

Run it:              pip install karla-receiver
                     KARLA_WEBHOOK_SECRET=try-me-try-me-16 python examples/legacy_wsgi.py
Send it a delivery:  python examples/send.py http://127.0.0.1:8000/webhooks/karla
"""

from __future__ import annotations

import json
import os
from typing import Any
from wsgiref.simple_server import make_server

from karla_receiver import Receiver
from karla_receiver.adapters.wsgi import KarlaMiddleware, require_event


def legacy_app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Do what it always did: read the body, parse it, and answer."""
    if environ["PATH_INFO"] != "/webhooks/karla":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"Tea, and webhooks.\n"]
    event = require_event(environ)  # new: the delivery, verified and typed
    payload = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
    print(f"{payload['event_group']}: order {event.order_number}", flush=True)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"thanks\n"]


app = KarlaMiddleware(legacy_app, Receiver.from_env(), "/webhooks/karla", forward=True)

if __name__ == "__main__":
    port = int(os.environ.get("PORT", "8000"))
    with make_server("127.0.0.1", port, app) as server:
        print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()
