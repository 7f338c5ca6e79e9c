"""The rules again, as short and as plain as they can be said: a second opinion on the package.

Nothing here is shared with it, and nothing is fast.
"""

from __future__ import annotations

import hmac
import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn


def verdict(body: bytes, header: str, secrets: Sequence[bytes], now: float) -> str:
    """Return `accept`, or the reason why a delivery is refused; the tolerance is 300 s."""
    pairs = [piece.strip(" \t").partition("=") for piece in header.split(",") if piece.strip(" \t")]
    if len(header) <= 4096 and not header.strip(" \t"):
        return "missing_signature"
    times = [value for key, _, value in pairs if key == "t"]
    listed = [value for key, _, value in pairs if key == "v1"]
    good = [value.lower() for value in listed if re.fullmatch("[0-9a-fA-F]{64}", value)]
    if (
        len(header) > 4096
        or len(pairs) > 32
        or not all(
            equals
            and re.fullmatch(r"[!-~]+", key + "=" + value)
            and re.fullmatch(r"[^\x22(),/:;<=>?@\[\\\]{}]+", key)
            for key, equals, value in pairs
        )
        or len(times) != 1
        or not re.fullmatch("0|[1-9][0-9]{0,14}", times[0])
        or len(listed) > 16
        or (listed and not good)
    ):
        return "malformed_header"
    if not listed:
        return "no_v1"
    if not set(macs(body, times[0], secrets)) & set(good):
        return "signature_mismatch"
    if abs(now - int(times[0])) <= 300:
        return "accept"
    return "timestamp_too_old" if now > int(times[0]) else "timestamp_in_future"


def macs(body: bytes, timestamp: str, secrets: Iterable[bytes]) -> list[str]:
    """Return the signature of a body under each secret, as hex digits."""
    message = timestamp.encode("latin-1") + b"." + body
    return [hmac.digest(secret, message, "sha256").hex() for secret in secrets]


def raw_event(body: bytes) -> dict[str, Any] | str:
    """Return what a body says, or the reason why it is refused."""
    try:
        value = json.loads(
            body.decode(),
            parse_constant=_refuse,
            parse_float=_float,
            parse_int=lambda text: int(text) if len(text) <= 4300 else _refuse(text),
            object_pairs_hook=_object,
        )
        _encodable(value)
    except (ValueError, RecursionError):
        return "invalid_json"
    if _depth(value) > 64:
        return "invalid_json"
    if (
        not isinstance(value, dict)
        or not isinstance(value.get("event_group"), str)
        or value["event_group"] == ""
    ):
        return "invalid_envelope"
    return value


def event_data_of(raw: dict[str, Any]) -> dict[str, Any]:
    """Return the data that an event has: what was sent, if it is an object."""
    data = raw.get("event_data")
    return data if isinstance(data, dict) else {}


def kind_of(raw: dict[str, Any]) -> str:
    """Return the name of the type that an event has."""
    data = event_data_of(raw)
    for source, id_field, kind in (
        ("shipments", "shipment_id", "ShipmentEvent"),
        ("claims", "claim_id", "ClaimEvent"),
    ):
        identifier = data.get(id_field)
        if raw.get("source") == source and isinstance(identifier, str) and identifier:
            return kind
    return "UnknownEvent"


def _refuse(text: str) -> NoReturn:
    raise ValueError(text)


def _float(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        _encodable(pairs)  # here, since the last of several equal keys hides the others
    return value


def _encodable(value: object) -> None:
    """Raise UnicodeEncodeError, a ValueError, if a lone surrogate is somewhere in the value."""
    json.dumps(value, ensure_ascii=False).encode()


def _depth(value: object) -> int:
    level, depth = [value], 0
    while level := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        level = [
            child for item in level for child in (item.values() if isinstance(item, dict) else item)
        ]
    return depth
