"""The table of attacks: what each case sends, and what the answer must be.

The table is `attacks.json` beside this file. Its cases are made for a secret, a time and an event
of its own; a `Setting` makes the same cases for those of another endpoint. A `budget_ms` in a
case's expectations is for its readers, who may have a machine of any speed: nothing measures it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, Final, TypeAlias

from karla_receiver.signature import HEADER
from karla_receiver.testing.deliveries import Delivery
from karla_receiver.testing.json_values import is_list, is_object

__all__ = ["Case", "Secret", "Setting", "decisions", "iter_cases", "load_cases"]

Secret: TypeAlias = str | bytes | None

_TABLE_SECRET: Final = "41013bd9-9072-42cd-9902-66da38361be9"  # noqa: S105 - of nobody
_TABLE_NOW: Final = 1_700_000_000
_PLAIN: Final = "t={t},v1={sig}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What cases are made for, where it is not what the table says.

    secret: stands wherever the table's own secret stands.
    now: unix seconds that a case's clock shows: every timestamp that was written in relation to
    the case's time moves along with it.
    body: of a good event, in cases whose body only has to be one.
    """

    secret: str | bytes | None = field(default=None, repr=False)
    now: int | None = None
    body: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One attack, resolved: header lines as text of code points 0 to 255, body as bytes.

    skew: seconds from the signed timestamp to the clock, if the timestamp is a plain number.
    is_plain: whether the header is written as Karla writes it, and well-formed.
    """

    id: str
    title: str
    layer: str
    why: str
    secrets: list[Secret] = field(repr=False)
    now: float
    header_lines: list[str] = field(repr=False)
    body: bytes = field(repr=False)
    expect: dict[str, Any]
    skew: float | None
    is_plain: bool
    http: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def statuses(self) -> list[int | None]:
        """The status expected, and the others that pass where servers differ."""
        return [self.expect["status"], *self.expect.get("status_any", [])]

    @property
    def is_for_one_secret(self) -> bool:
        """Whether it is for a receiver of one secret, whichever that is."""
        return self.secrets == [_TABLE_SECRET] and self.expect["reason"] != "config_error"

    @property
    def delivery(self) -> Delivery:
        """The request that it sends."""
        name = self.http.get("header_name", HEADER)
        lines = [(name, line) for line in self.header_lines]
        return Delivery(
            method=self.http.get("method", "POST"),
            headers=(*lines, *self.http.get("headers", {}).items()),
            body=self.body,
            query=self.http.get("query", ""),
        )

    def __str__(self) -> str:
        return f"{self.id} {self.title}"


def load_cases(*layers: str) -> list[Case]:
    """Return the cases of some layers (core, adapter, server, system), as the table has them."""
    return list(iter_cases(*layers, setting=Setting))


def iter_cases(*layers: str, setting: Callable[[], Setting]) -> Iterator[Case]:
    """Make the cases of some layers, each for what `setting` returns when its turn comes."""
    for row in _table()["cases"]:
        if row["layer"] in layers:
            yield _Resolution(row, setting()).case()


def decisions() -> dict[str, str]:
    """Return what was decided where several answers could be defended, by D1, D2, ..."""
    texts: dict[str, str] = _table()["decisions"]
    return texts


@cache
def _table() -> Any:
    return json.loads(files("karla_receiver.testing").joinpath("attacks.json").read_bytes())


class _Resolution:
    """Makes one row of the table a case."""

    def __init__(self, row: dict[str, Any], setting: Setting) -> None:
        self._row = row
        self._setting = setting
        self._shift = 0 if setting.now is None else setting.now - int(row["now"])
        listed: list[Any] = row["header"] if is_list(row["header"]) else [row["header"]]
        self._specs = [spec for spec in listed if spec is not None]
        self._orders = [spec["sign"] for spec in self._specs if _is_order(spec)]

    def case(self) -> Case:
        row = self._row
        body = self._body()
        return Case(
            id=row["id"],
            title=row["title"],
            layer=row["layer"],
            why=row["why"],
            secrets=_secrets(row["secrets"]),
            now=row["now"] + self._shift,
            header_lines=[self._header_line(spec, body) for spec in self._specs],
            body=body,
            expect=row["expect"],
            skew=self._skew(),
            is_plain=len(self._specs) == 1
            and [(order["template"], order["mutate"]) for order in self._orders] == [(_PLAIN, None)]
            and self._skew() is not None,
            http=row.get("http") or {},
        )

    def _body(self) -> bytes:
        own = _bytes(self._row["body_b64"])
        is_any_event = own == _any_event() and all(o["body"] == "same" for o in self._orders)
        return self._setting.body if self._setting.body is not None and is_any_event else own

    def _skew(self) -> float | None:
        signed: str = self._orders[0]["t"] if self._orders else ""
        # Over 20 digits it is an attack on number parsers, and no time.
        is_number = signed.isascii() and signed.isdigit() and len(signed) <= 20
        return self._row["now"] - int(signed) if is_number else None

    def _header_line(self, spec: Any, body: bytes) -> str:
        if not _is_order(spec):
            return self._moved(_text(spec), _LITERAL)
        order = spec["sign"]
        signed = body if order["body"] == "same" else _bytes(order["body"])
        timestamp = self._moved(order["t"], _NUMBER)
        signature = _mutated(order["mutate"], self._key(order["secret"]), timestamp, signed)
        template = self._moved(_text(order["template"]), _LITERAL)
        return template.replace("{t}", timestamp).replace("{sig}", signature)

    def _key(self, item: Any) -> bytes:
        secret = _secret(item) or ""
        other = self._setting.secret
        if other is not None:
            # The table has three secrets that are made from its own.
            secret = {
                _TABLE_SECRET: other,
                _TABLE_SECRET.upper(): other.swapcase(),
                _TABLE_SECRET[:1]: other[:1],
            }.get(str(secret), secret)
        return secret.encode() if isinstance(secret, str) else secret

    def _moved(self, text: str, numbers: re.Pattern[str]) -> str:
        """Move the times in a text to those of the setting."""
        if not self._shift:
            return text
        moved = _spelled(_TABLE_NOW + self._shift)
        for spelling, other in zip(_spelled(_TABLE_NOW), moved, strict=True):
            text = text.replace(spelling, other)
        return numbers.sub(self._moved_number, text)

    def _moved_number(self, match: re.Match[str]) -> str:
        moved = str(int(match[0]) + self._shift).zfill(len(match[0]))
        # One that is there for its length stays.
        return moved if len(moved) == len(match[0]) else match[0]


_NUMBER = re.compile(r"(?<!\d)\d{10,20}(?!\d)", re.ASCII)
_LITERAL = re.compile(r"(?<=t=)\d{10}(?!\d)", re.ASCII)


def _in_other_digits(moment: int) -> str:
    digits = "".join(chr(0x0660 + int(digit)) for digit in str(moment))
    return digits.encode().decode("latin-1")


# How else the table writes its time: what careless number parsers take.
_SPELLINGS: Final[tuple[Callable[[int], str], ...]] = (
    lambda moment: f"{moment:_}",
    lambda moment: f"{moment:,}",
    hex,
    lambda moment: f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%SZ}",
    lambda moment: f"\xb9{str(moment)[1:]}",
    _in_other_digits,
)


@lru_cache(maxsize=4)
def _spelled(moment: int) -> tuple[str, ...]:
    return tuple(spelling(moment) for spelling in _SPELLINGS)


@cache
def _any_event() -> bytes:
    return _bytes(_table()["cases"][0]["body_b64"])


def _is_order(spec: Any) -> bool:
    return is_object(spec) and "sign" in spec


def _secrets(listed: Any) -> list[Secret]:
    # A bare text instead of a list: the API was given one text, which is one secret.
    return [_secret(item) for item in (listed if is_list(listed) else [listed])]


def _secret(item: Any) -> Secret:
    secret: Secret = base64.b64decode(item["b64"]) if is_object(item) else item
    return secret


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
    if is_list(spec):
        return "".join(map(_text, spec))
    return _repeated(spec)


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
