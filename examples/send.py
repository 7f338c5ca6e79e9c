"""Sends a sample delivery, signed, to a receiver on this machine.

Run it:  KARLA_WEBHOOK_SECRET=try-me-try-me-16 python examples/send.py URL [SAMPLE]
"""

from __future__ import annotations

import os
import sys
from urllib.request import ProxyHandler, Request, build_opener

from karla_receiver import samples, sign


def main() -> None:
    """Send one delivery and print the answer."""
    url, *names = sys.argv[1:] or sys.exit(__doc__)
    body = samples.read(names[0] if names else "shipment_delivered")
    secret = os.environ.get("KARLA_WEBHOOK_SECRET", "try-me-try-me-16")
    headers = {"Karla-Signature": sign(body, secret), "Content-Type": "application/json"}
    if not url.startswith("http://"):
        sys.exit("the url must start with http://")
    opener = build_opener(ProxyHandler({}))  # straight to this machine
    with opener.open(Request(url, body, headers), timeout=10) as answer:  # noqa: S310
        print(answer.status, answer.read().decode())


if __name__ == "__main__":
    main()
