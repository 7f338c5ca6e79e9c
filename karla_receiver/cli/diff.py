"""The command `diff`: what differs between two recorded deliveries."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import msgspec
import typer

from karla_receiver import ConfigurationError, PayloadError, parse_event
from karla_receiver.checks import printable
from karla_receiver.cli.content import STANDARD_INPUT, file_content
from karla_receiver.cli.output import write_json
from karla_receiver.cli.recording import Recorded, decoded
from karla_receiver.cli.terminal import Terminal
from karla_receiver.testing.json_values import is_list, is_object

__all__ = ["Difference", "Pick", "diff", "differences"]

_WIDTH: Final = 60  # of a value that stands beside another one
_BEFORE: Final = 20  # how much of it stands before the first difference
_MOST_ROWS: Final = 20
_MOST_BLANKS: Final = 3
_TOKEN: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[-+.0-9eE]+|[a-z]+|[{}\[\]:,]|[ \t\r\n]+')

_ABSENT: Final = msgspec.UNSET
_TITLES: Final = {"request": "Request", "header": "Headers", "event": "Event", "bytes": "Bytes"}


class Pick(NamedTuple):
    """A recorded delivery, and how the command line named it."""

    name: str
    delivery: Recorded


class Difference(NamedTuple):
    """One thing that is not the same in both.

    part: request, header, event or bytes. path: which one there, as `--set` has a field's path.
    a, b: what each has; UNSET for nothing. Of bytes: how they are written.
    """

    part: str
    path: str
    a: Any
    b: Any

    def __repr__(self) -> str:
        # Neither value: they can be personal data or a signature.
        return f"<Difference in {self.part}: {self.path!a:.100}>"


def diff(
    first: Annotated[
        str, typer.Argument(metavar="A", help="A recording: FILE, or FILE:LINE for one of many.")
    ],
    second: Annotated[
        str,
        typer.Argument(metavar="B", help="Another one. One of both may be - for standard input."),
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Write JSON, an object a difference, for programs.")
    ] = False,
) -> None:
    """Show what differs between two recorded deliveries.

    Compares method, path and headers, and the event field by field. Of
    equal events it says how the bytes differ: order of keys, blanks,
    escapes, numbers. When they came and how they were answered is shown,
    and not compared.

    Recordings hold personal data, and so does what is shown.

    Examples:

      karla-receiver diff deliveries.jsonl:3 deliveries.jsonl:7
      karla-receiver diff before.jsonl after.jsonl --json
      tail -n 1 deliveries.jsonl | karla-receiver diff deliveries.jsonl:1 -

    Exit status: 0 if they are equal, 1 if they differ, 2 for wrong usage,
    such as a file that is no recording.
    """
    if first == second == STANDARD_INPUT:
        raise ConfigurationError("standard input is read once: write a file for A or B")
    a, b = _picked(first), _picked(second)
    found = list(differences(a.delivery, b.delivery))
    if as_json:
        for each in found:
            write_json(_as_object(each))
    else:
        _show(a, b, found)
    raise typer.Exit(1 if found else 0)


def _file_and_line(source: str) -> tuple[str, int | None]:
    if Path(source).exists():
        return source, None  # a file may well end in a colon and digits
    file, colon, line = source.rpartition(":")
    # As `replay --line` counts, and only as many digits as a number of lines has.
    return (file, int(line)) if colon and re.fullmatch("[0-9]{1,15}", line) else (source, None)


def _picked(source: str) -> Pick:
    file, line = _file_and_line(source)
    found = decoded(file_content(file), file)
    if line is None and len(found) > 1:
        raise ConfigurationError(
            f"{file} has {len(found)} deliveries: write which one, as in {file}:{max(found)}"
        )
    if line is not None and line not in found:
        raise ConfigurationError(
            f"{source}: there is no delivery in line {line}, the last one is in line {max(found)}"
        )
    number = next(iter(found)) if line is None else line
    return Pick(f"{file}:{number}", found[number])


def differences(a: Recorded, b: Recorded) -> Iterator[Difference]:
    """Yield what differs, in the order: request, headers, event, and bytes of equal events."""
    for path, one, other in (("method", a.method, b.method), ("path", a.path, b.path)):
        if one != other:
            yield Difference("request", path, one, other)
    of_a, of_b = _lines(a), _lines(b)
    for name in sorted({*of_a, *of_b}):
        line_a, line_b = of_a.get(name, _ABSENT), of_b.get(name, _ABSENT)
        if line_a != line_b:
            yield Difference("header", name, line_a, line_b)
    if a.body != b.body:
        yield from _in_bodies(a.body, b.body)


def _lines(recorded: Recorded) -> dict[str, str]:
    """Return the headers by their lower-case names, and several lines of one as HTTP joins them."""
    names = dict.fromkeys(name.lower() for name, _ in recorded.headers)
    return {name: ", ".join(recorded.lines_of(name)) for name in names}


def _in_bodies(a: bytes, b: bytes) -> Iterator[Difference]:
    event_a, event_b = _event(a), _event(b)
    if event_a is None or event_b is None:
        if (event_a is None) != (event_b is None):
            yield Difference("event", "the body is", _kind(event_a), _kind(event_b))
        yield _in_bytes(a, b)
        return
    found = list(_in_values("", event_a, event_b))
    yield from found or _in_writing(a, b, event_a, event_b)


def _event(body: bytes) -> dict[str, Any] | None:
    try:
        return parse_event(body).raw
    except PayloadError:
        return None


def _kind(event: object) -> str:
    return "no event" if event is None else "an event"


def _in_values(path: str, a: object, b: object) -> Iterator[Difference]:
    if is_object(a) and is_object(b):
        for name in {**a, **b}:
            yield from _in_values(_below(path, name), a.get(name, _ABSENT), b.get(name, _ABSENT))
    elif is_list(a) and is_list(b):
        for place, (one, other) in enumerate(zip_longest(a, b, fillvalue=_ABSENT)):
            yield from _in_values(_below(path, place), one, other)
    elif a != b or isinstance(a, bool) != isinstance(b, bool):  # True == 1
        yield Difference("event", path, a, b)


def _below(path: str, name: object) -> str:
    return f"{path}.{name}" if path else str(name)


def _in_writing(a: bytes, b: bytes, event_a: object, event_b: object) -> Iterator[Difference]:
    """Yield how two ways to write the same event differ."""
    orders = _summed_up(list(_in_orders("", event_a, event_b)))
    found = [*orders, *_in_tokens(a.decode(), b.decode())]
    yield from found or [_in_bytes(a, b)]  # as where a key is there twice


def _summed_up(orders: list[Difference]) -> list[Difference]:
    """Return one difference for all objects if the keys of one side are sorted in each of them."""
    are_sorted = [all(side == sorted(side) for side in sides) for sides in _sides(orders)]
    if len(orders) < 2 or not any(are_sorted):
        return orders
    one, other = ("sorted" if each else "not sorted" for each in are_sorted)
    return [Difference("bytes", f"keys of {len(orders)} objects", one, other)]


def _sides(orders: list[Difference]) -> tuple[list[list[str]], list[list[str]]]:
    return [each.a for each in orders], [each.b for each in orders]


def _in_orders(path: str, a: object, b: object) -> Iterator[Difference]:
    """Yield where the keys of the same objects stand in another order."""
    if is_object(a) and is_object(b):
        if list(a) != list(b):
            yield Difference("bytes", f"keys of {path or 'the event'}", list(a), list(b))
        for name, value in a.items():
            yield from _in_orders(_below(path, name), value, b[name])
    elif is_list(a) and is_list(b):
        for place, (one, other) in enumerate(zip(a, b, strict=True)):
            yield from _in_orders(_below(path, place), one, other)


def _in_tokens(a: str, b: str) -> Iterator[Difference]:
    tokens_a, tokens_b = _TOKEN.findall(a), _TOKEN.findall(b)
    blanks_a, blanks_b = _blanks(tokens_a), _blanks(tokens_b)
    if blanks_a != blanks_b:
        yield Difference("bytes", "blanks", _most(blanks_a - blanks_b), _most(blanks_b - blanks_a))
    for what, beginnings in (("text", '"'), ("number", "-0123456789")):
        of_a, of_b = (
            Counter(token for token in tokens if token[0] in beginnings)
            for tokens in (tokens_a, tokens_b)
        )
        yield from _in_forms(what, of_a - of_b, of_b - of_a)


def _in_forms(what: str, a: Counter[str], b: Counter[str]) -> Iterator[Difference]:
    """Yield the pairs of two forms of one value, each pair once."""
    # By what they stand for: the order of keys may be another one.
    forms_a, forms_b = (sorted(forms.elements(), key=msgspec.json.decode) for forms in (a, b))
    if len(forms_a) == len(forms_b):  # else a key is there twice
        for (one, other), count in Counter(zip(forms_a, forms_b, strict=True)).items():
            yield Difference("bytes", what if count == 1 else f"{what}, {count} times", one, other)


def _blanks(tokens: list[str]) -> Counter[str]:
    """Count the blanks outside of texts, each with the punctuation that it follows or precedes."""
    blanks: Counter[str] = Counter()
    for before, token, after in zip(["", *tokens], tokens, [*tokens[1:], ""], strict=False):
        if token.isspace():
            is_after = before in {"{", "[", ":", ","} or not after
            blanks[(before[-1:] + token) if is_after else (token + after[:1])] += 1
    return blanks


def _most(blanks: Counter[str]) -> list[str]:
    return [form for form, _ in blanks.most_common(_MOST_BLANKS)]


def _in_bytes(a: bytes, b: bytes) -> Difference:
    place = _place(a, b)
    start = max(0, place - _BEFORE)
    one, other = (
        each[start : start + _WIDTH].decode("utf-8", "backslashreplace") for each in (a, b)
    )
    return Difference("bytes", f"from byte {place}", one, other)


def _place(a: Sequence[object], b: Sequence[object]) -> int:
    """Return where two that are not equal begin to differ."""
    pairs = enumerate(zip(a, b, strict=False))
    least = min(len(a), len(b))
    return next((place for place, (one, other) in pairs if one != other), least)


def _as_object(difference: Difference) -> dict[str, object]:
    part, path, a, b = difference
    values = {"a": a, "b": b}
    present = {name: value for name, value in values.items() if value is not _ABSENT}
    return {"part": part, "path": path, **present}


def _show(a: Pick, b: Pick, found: list[Difference]) -> None:
    terminal = Terminal()
    for letter, pick in (("A", a), ("B", b)):
        terminal.print(letter, end="  ", style="bold")
        terminal.print(printable(_described(pick)))
    if not found:
        terminal.print("No difference.", style="green")
    for part, title in _TITLES.items():
        rows = [each for each in found if each.part == part]
        if rows:
            terminal.print(title, style="bold")
        for each in rows[:_MOST_ROWS]:
            one, other = _beside(_text(each.part, each.a), _text(each.part, each.b))
            terminal.print(f"  {printable(each.path)}: {one} | {other}")
        if len(rows) > _MOST_ROWS:
            terminal.print(f"  and {len(rows) - _MOST_ROWS} more: --json lists all")


def _described(pick: Pick) -> str:
    delivery = pick.delivery
    answer = delivery.reason or delivery.status or "no answer"
    cut = ", without the end" if delivery.is_cut else ""
    came = _moment(delivery.received_at)
    return f"{pick.name}, {came}, {len(delivery.body)} bytes{cut}: {answer}"


def _moment(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return f"t={seconds}"  # no time that a calendar has


def _text(part: str, value: object) -> str:
    if value is _ABSENT:
        return "(absent)"
    is_written_so = part == "bytes" and isinstance(value, str)
    return str(value) if is_written_so else json.dumps(value, ensure_ascii=False)


def _beside(a: str, b: str) -> tuple[str, str]:
    """Return two texts, escaped, from where they begin to differ if one is long."""
    is_long = max(len(a), len(b)) > _WIDTH
    start = max(0, _place(a, b) - _BEFORE) if is_long else 0
    return _cut(a, start), _cut(b, start)


def _cut(text: str, start: int) -> str:
    end = start + _WIDTH
    before, after = "..." if start else "", "..." if len(text) > end else ""
    return f"{before}{printable(text[start:end])}{after}"
