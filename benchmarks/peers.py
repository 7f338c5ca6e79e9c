"""Other receivers' verifiers on the same bytes: for scale, since each signs in its own way."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Any

import stripe
from gidgethub import sansio
from linebot.v3.webhook import SignatureValidator
from slack_sdk.signature import SignatureVerifier
from standardwebhooks.webhooks import Webhook as StandardWebhook
from svix.webhooks import Webhook as SvixWebhook

from benchmarks.deliveries import KEY, SECRET, body_of, hash_floor
from benchmarks.slices import Work, time_slices
from benchmarks.tables import Table, at_most
from karla_receiver import Verifier, sign

__all__ = ["peers"]

_SIZES = {"1 KB": 1024, "2 KB": 2048, "64 KB": 65_536, "1 MB": 1_048_576}


def peers(rounds: int) -> Table:
    """Compare whole verifications, each from the bytes that a server hands out."""
    rows = [
        at_most(None, f"{name}, {label}", taken[name], taken["floor"], series=name, x=size)
        for label, size in _SIZES.items()
        for body in (body_of(size),)
        for taken in (
            time_slices(
                {"floor": hash_floor(body), **{name: make(body) for name, make in _PEERS.items()}},
                max(12, rounds // (3 + size // 16_384)),
            ),
        )
        for name in _PEERS
    ]
    return Table("peers", "Verification alone, beside the hash floor of the same body", tuple(rows))


def _ours(body: bytes) -> Work:
    header, verify = sign(body, SECRET), Verifier(SECRET).verify
    return lambda: verify(body, header)


def _stripe(body: bytes) -> Work:
    header, verify_header = sign(body, SECRET), stripe.WebhookSignature.verify_header
    return lambda: verify_header(body.decode(), header, SECRET, 300)


def _standard(make: Callable[[str], Any], prefix: str) -> Callable[[bytes], Work]:
    def work(body: bytes) -> Work:
        moment = int(time.time())
        digest = hmac.digest(KEY, b"msg_1.%d." % moment + body, "sha256")
        headers = {
            f"{prefix}-id": "msg_1",
            f"{prefix}-timestamp": str(moment),
            f"{prefix}-signature": f"v1,{base64.b64encode(digest).decode()}",
        }
        verify = make("whsec_" + base64.b64encode(KEY).decode()).verify
        return lambda: verify(body, headers)

    return work


def _slack(body: bytes) -> Work:
    moment = str(int(time.time()))
    digest = hmac.new(KEY, f"v0:{moment}:".encode() + body, hashlib.sha256).hexdigest()
    verifier = SignatureVerifier(SECRET)
    return lambda: _true(verifier.is_valid(body, moment, f"v0={digest}"))


def _gidgethub(body: bytes) -> Work:
    signature = "sha256=" + hmac.new(KEY, body, hashlib.sha256).hexdigest()
    return lambda: sansio.validate_event(body, signature=signature, secret=SECRET)


def _line(body: bytes) -> Work:
    signature = base64.b64encode(hmac.digest(KEY, body, "sha256")).decode()
    validator: Any = SignatureValidator(SECRET)
    # It takes text, as its own examples pass it.
    return lambda: _true(validator.validate(body.decode(), signature))


def _true(is_valid: bool) -> None:
    if not is_valid:
        raise RuntimeError("a peer refused what was signed for it")


_PEERS: dict[str, Callable[[bytes], Work]] = {
    "karla-receiver": _ours,
    "stripe": _stripe,
    "standardwebhooks": _standard(StandardWebhook, "webhook"),
    "svix": _standard(SvixWebhook, "svix"),
    "slack_sdk": _slack,
    "gidgethub (no timestamp)": _gidgethub,
    "line-bot-sdk (no timestamp)": _line,
}
