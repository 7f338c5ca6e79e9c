"""Reads the table of attacks: what each case sends, and what the answer must be."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

DATA = Path(__file__).parent / "data"

Secret: TypeAlias = str | bytes | None


@dataclass(frozen=True)
class Case:
    """One attack, resolved: header lines as text of code points 0 to 255, body as bytes."""

    id: str
    title: str
    layer: str
    secrets: list[Secret]
    now: float
    header_lines: list[str]
    body: bytes
    expect: dict[str, Any]
    http: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def statuses(self) -> list[int | None]:
        """The status expected, and the others that pass where servers differ."""
        return [self.expect["status"], *self.expect.get("status_any", [])]

    def __str__(self) -> str:
        return f"{self.id} {self.title}"


def load_cases(layer: str) -> list[Case]:
    """Return the cases of a layer: core, adapter, server or system."""
    table = json.loads((DATA / "attacks.json").read_bytes())
    return [_case(row) for row in table["cases"] if row["layer"] == layer]


def _case(row: dict[str, Any]) -> Case:
    body = _bytes(row["body_b64"])
    specs = row["header"] if isinstance(row["header"], list) else [row["header"]]
    lines = [_header_line(spec, body) for spec in specs if spec is not None]
    _check_resolution(row, lines)
    return Case(
        id=row["id"],
        title=row["title"],
        layer=row["layer"],
        secrets=_secrets(row["secrets"]),
        now=row["now"],
        header_lines=lines,
        body=body,
        expect=row["expect"],
        http=row.get("http") or {},
    )


def _check_resolution(row: dict[str, Any], lines: list[str]) -> None:
    # The table holds what its author resolved: a second opinion on this file.
    resolved = row.get("header_resolved")
    if resolved is not None:
        expected = resolved if isinstance(resolved, list) else [resolved]
        assert lines == expected, row["id"]


def _secrets(listed: Any) -> list[Secret]:
    # A bare text instead of a list: the API was given one text, which is one secret.
    return [_secret(item) for item in (listed if isinstance(listed, list) else [listed])]


def _secret(item: Any) -> Secret:
    if isinstance(item, dict):
        return base64.b64decode(item["b64"])
    assert item is None or isinstance(item, str)
    return item


def _bytes(spec: Any) -> bytes:
    if isinstance(spec, str):
        return base64.b64decode(spec)
    if "concat" in spec:
        return b"".join(_bytes(part) for part in spec["concat"])
    if "text" in spec:
        text: str = spec["text"]
        return text.encode()
    return _repeated(spec).encode()


def _repeated(spec: Any) -> str:
    text, count = spec["repeat"]
    return str(text) * int(count)


def _text(spec: Any) -> str:
    if isinstance(spec, str):
        return spec
    if isinstance(spec, list):
        return "".join(map(_text, spec))
    return _repeated(spec)


def _header_line(spec: Any, body: bytes) -> str:
    if not (isinstance(spec, dict) and "sign" in spec):
        return _text(spec)
    order = spec["sign"]
    signed = body if order["body"] == "same" else _bytes(order["body"])
    secret = _secret(order["secret"])
    assert secret is not None
    key = secret.encode() if isinstance(secret, str) else secret
    signature = _mutated(order.get("mutate"), key, order["t"], signed)
    return _text(order["template"]).replace("{t}", order["t"]).replace("{sig}", signature)


def _mutated(mutation: str | None, key: bytes, timestamp: str, body: bytes) -> str:
    message = timestamp.encode("latin-1") + b"." + body
    other: dict[str, Callable[[], str]] = {
        "raw_body": hmac.digest(key, body, "sha256").hex,
        "sha1": lambda: hmac.digest(key, message, "sha1").hex().ljust(64, "0"),
        "sha256concat": hashlib.sha256(key + message).hexdigest,
        "swapped": hmac.digest(message, key, "sha256").hex,
    }
    if mutation in other:
        return other[mutation]()
    digest = hmac.digest(key, message, "sha256")
    text = digest.hex()
    name, _, argument = (mutation or "").partition(":")
    flipped = {"0": "1"}
    mutated: dict[str, Callable[[], str]] = {
        "": lambda: text,
        "upper": text.upper,
        "mixed": lambda: "".join(
            digit.upper() if place % 2 else digit for place, digit in enumerate(text)
        ),
        "flip_first": lambda: flipped.get(text[0], "0") + text[1:],
        "flip_last": lambda: text[:-1] + flipped.get(text[-1], "0"),
        "truncate": lambda: text[: int(argument)],
        "append": lambda: text + argument,
        "prefix": lambda: argument + text,
        "colons": lambda: ":".join(text[at : at + 2] for at in range(0, 64, 2)),
        "base64": lambda: base64.b64encode(digest).decode(),
    }
    return mutated[name]()
