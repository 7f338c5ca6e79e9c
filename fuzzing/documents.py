"""Changes to a JSON document that leave it JSON: what changing octets hardly ever does."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from fuzzing.promises import ChangeBytes

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, 2**63, 2**64, "", "x", [], {}, [[]], [{}], {"": None}),
    *("shipments", "claims", "2026-03-05T11:42:08Z", "2026-03-05T11:42:08", "\0", "\U0001f511"),
)


NAMES = (
    "event_group",
    "source",
    "ref",
    "event_data",
    "context",
    "order",
    "shipment_id",
    "claim_id",
)


def change(data: bytes, max_size: int, seed: int, change_bytes: ChangeBytes) -> bytes:
    """Return a changed document; changed octets, half of the time and where data is not JSON.

    change_bytes: the fuzzer's own way: takes bytes and the most that it may return.
    """
    draw = Random(seed)  # noqa: S311 - the fuzzer's, so that a run can be repeated
    if draw.random() < 0.5:
        return change_bytes(data, max_size)
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return change_bytes(data, max_size)
    if not isinstance(document, dict | list) or not document:
        return change_bytes(data, max_size)
    _change_somewhere(draw, document, change_bytes)
    changed = json.dumps(document, ensure_ascii=False).encode(errors="replace")
    return changed if len(changed) <= max_size else change_bytes(data, max_size)


def _change_somewhere(draw: Random, container: Any, change_bytes: ChangeBytes) -> None:
    # Near the top more often than far below, where far more of a document lies.
    while True:
        keys: Any = list(container) if isinstance(container, dict) else range(len(container))
        key = draw.choice(keys)
        value: Any = container[key]
        if not isinstance(value, dict | list) or not value or draw.random() < 0.4:
            break
        container = value
    way = draw.randrange(6)
    if way == 0:
        del container[key]
    elif way == 1 and isinstance(container, list):
        container.insert(key, value)
    elif way == 1:
        container[draw.choice(NAMES)] = value
    elif way > 2 and isinstance(value, str):
        container[key] = change_bytes(value.encode(errors="replace"), 200).decode(errors="replace")
    else:
        container[key] = draw.choice(VALUES)
