"""What a receiver has in its hands, and ways to mangle it."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from karla_receiver import Reason, samples, sign
from karla_receiver.explain import Explanation, explain
from tests.signing import NOW

# Mixed case, base64 and hex by its alphabet, so that every form of it is another.
SECRET = "5f0c9f1f6a10AbCd5f0c9f1f6a10AbCd"


COMPACT = samples.read("shipment_unicode_names")


ESCAPED = samples.read("shipment_unicode_names_escaped")


INDENTED = samples.read("shipment_delivery_attempted")  # ends with a newline


MISMATCH = Reason.SIGNATURE_MISMATCH


@dataclass(frozen=True, kw_only=True)
class Received:
    """What a receiver has in its hands."""

    body: bytes = COMPACT
    header: Any
    secret: str | bytes = SECRET
    now: float = NOW
    others: dict[str, str | bytes] | None = None
    headers: Any = ()
    like: tuple[bytes, ...] = ()

    def explained(self) -> Explanation:
        return explain(
            self.body,
            self.header,
            self.secret,
            now=self.now,
            others=self.others,
            headers=self.headers,
            like=self.like,
        )


def of(body: bytes) -> Received:
    return Received(body=body, header=sign(body, SECRET, timestamp=NOW))


GENUINE = of(COMPACT)


DIGEST = GENUINE.header.partition("v1=")[2]


def with_body(mangle: Callable[[bytes], bytes], body: bytes = COMPACT) -> Received:
    return replace(of(body), body=mangle(body))


def with_header(mangle: Callable[[str], Any]) -> Received:
    return replace(GENUINE, header=mangle(GENUINE.header))


def configured(secret: str | bytes, right: str | bytes = SECRET) -> Received:
    header = f"t={NOW},v1=" + mac(f"{NOW}.".encode() + COMPACT, right)
    return Received(header=header, secret=secret)


def mac(message: bytes, secret: str | bytes = SECRET, algorithm: str = "sha256") -> str:
    import hmac

    key = secret.encode() if isinstance(secret, str) else secret
    return hmac.digest(key, message, algorithm).hex()


def other_algorithm(name: str) -> Received:
    header = f"t={NOW},v1={mac(f'{NOW}.'.encode() + COMPACT, algorithm=name)}"
    return replace(GENUINE, header=header)


def redumped(**options: Any) -> Callable[[bytes], bytes]:
    return lambda body: json.dumps(json.loads(body), **options).encode()


def compact(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def as_php(body: bytes) -> bytes:
    return json.dumps(json.loads(body), separators=(",", ":")).replace("/", "\\/").encode()


def as_javascript(body: bytes) -> bytes:
    """Parse and dump as JSON.stringify(JSON.parse(...)) does: 20.0 becomes 20."""
    return compact(
        json.loads(
            body, parse_float=lambda text: int(float(text)) if text.endswith(".0") else float(text)
        )
    )


def in_gzip(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)


def signed_as(body: bytes) -> Received:
    """Sign body, and receive the compact sample."""
    return replace(of(body), body=COMPACT)


def wrapped(body: bytes, *, in_base64: bool) -> bytes:
    text = base64.b64encode(body).decode() if in_base64 else body.decode()
    return json.dumps({"body": text, "isBase64Encoded": in_base64, "headers": {}}).encode()


TWO_LINES = f"t={NOW},v1={DIGEST[:40]}", DIGEST[40:]


OTHER_HEADER = sign(b"{}", "another", timestamp=NOW - 1)
