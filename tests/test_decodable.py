"""Two threads that decode into a struct for the first time at once must not crash the interpreter.

Each struct that the package decodes into is read by msgspec where it is defined. The first test
finds the calls that decode into a type, and fails for a new one that is not.
"""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_args

import msgspec
import pytest

import karla_receiver
from karla_receiver import events
from karla_receiver.events import DECODABLE
from karla_receiver.testing import fake_api

PACKAGE = Path(karla_receiver.__file__).parent
FILES = sorted({*PACKAGE.rglob("*.py"), *(PACKAGE / "adapters").glob("*.py")})

# The place of the type among the arguments of what decodes into one.
DECODERS = {
    "msgspec.convert": 1,
    "msgspec.json.decode": 1,
    "msgspec.json.Decoder": 0,
    "msgspec.msgpack.decode": 1,
    "msgspec.msgpack.Decoder": 0,
}
EVENTS = (events.ShipmentEvent, events.ClaimEvent, events.UnknownEvent)
# What an expression stands for that is no name of the module.
VARIABLES: dict[tuple[str, str], tuple[Any, ...]] = {
    ("karla_receiver.events", "struct"): (),
    ("karla_receiver.decoding", "event_type"): EVENTS,
    ("karla_receiver.decoding", "annotation"): EVENTS,
    ("karla_receiver.cli.drift", "annotation"): EVENTS,
    ("karla_receiver.registration.webhook", "annotation"): (),  # of a field: none is a struct
    ("karla_receiver.testing.fake_api", "kind"): (fake_api._Creation, fake_api._Change),  # pyright: ignore[reportPrivateUsage]
    ("karla_receiver.testing.paths", "_type_at(path, kind)"): EVENTS,
}


class Use(NamedTuple):
    """A call that decodes into a type, as it is written."""

    module: str
    expression: str


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def uses() -> Iterator[Use]:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("msgspec"):
                imported = {alias.name for alias in node.names}
                assert not imported & {"convert", "json", "msgpack", "decode", "Decoder"}, (
                    f"{path.name}: write msgspec.convert in full, for this test to find it"
                )
            if (
                isinstance(node, ast.Call)
                and (place := DECODERS.get(ast.unparse(node.func))) is not None
            ):
                named = [keyword.value for keyword in node.keywords if keyword.arg == "type"]
                for expression in [*node.args[place : place + 1], *named]:
                    yield Use(module_of(path), ast.unparse(expression))


USES = sorted(set(uses()))


def types_of(use: Use) -> tuple[Any, ...]:
    if (use.module, use.expression) in VARIABLES:
        return VARIABLES[use.module, use.expression]
    return (eval(use.expression, vars(importlib.import_module(use.module))),)  # noqa: S307 - ours


def structs_in(annotation: Any) -> Iterator[type[msgspec.Struct]]:
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        yield annotation
    for part in get_args(annotation):
        yield from structs_in(part)


def unread(struct: type[msgspec.Struct], parent: type[msgspec.Struct] | None = None) -> set[str]:
    """Return the structs that msgspec may first meet in two threads.

    One in a field is read along with its parent, by the thread that imports the module of both.
    """
    is_read = struct in DECODABLE or (parent is not None and parent.__module__ == struct.__module__)
    found = set() if is_read else {struct.__qualname__}
    for field in msgspec.structs.fields(struct):
        for inner in structs_in(field.type):
            found |= unread(inner, struct)
    return found


@pytest.mark.parametrize("use", USES, ids=lambda use: f"{use.module}:{use.expression}")
def test_each_struct_that_is_decoded_into_is_read_where_it_is_defined(use: Use) -> None:
    found = {
        name for each in types_of(use) for struct in structs_in(each) for name in unread(struct)
    }
    assert found == set(), "decorate it with karla_receiver.events.decodable"


def test_the_calls_are_found() -> None:
    assert {use.expression for use in USES} >= {"_Message", "Recorded", "Webhook", "Kept", "_Query"}
    assert set(VARIABLES) <= set(USES)


def test_a_struct_that_is_not_decorated_is_found() -> None:
    class Inner(msgspec.Struct):
        pass

    assert unread(Inner) == {Inner.__qualname__}
    assert unread(events.ShipmentEvent) == set()


# In a process of its own: a crash ends it, and in this one the types have been met.
FIRST_USES = """
import sys, threading
import msgspec
from karla_receiver import parse_event, samples
from karla_receiver.adapters.celery import _read
from karla_receiver.cli.recording import decoded
from karla_receiver.inbox.operations import Kept
from karla_receiver.registration.webhook import to_webhook
from karla_receiver.testing.fake_api import _Change, _Creation

event = samples.read("shipment_delivered")
delivery = {"key": "k", "occurrence": "", "body": "", "headers": [["a", "b"]], "received_at": 1.0}
recorded = b'{"received_at":1.0,"headers":[["a","b"]],"body":"","status":200}'
kept = {**dict.fromkeys(Kept.__struct_fields__), "state": "done"}
webhook = {"uuid": "u", "url": "https://x.example", "enabled_events": ["*"]}
uses = [
    lambda: parse_event(event),
    lambda: _read({"delivery": delivery, "failure": "x"}),
    lambda: decoded(recorded, "file"),
    lambda: msgspec.convert(kept, Kept),
    lambda: to_webhook({**webhook, "created_at": "2026-03-05T11:42:08Z"}),
    lambda: msgspec.convert(webhook, _Creation),
    lambda: msgspec.convert(webhook, _Change),
]

def meet(use):
    barrier = threading.Barrier(4)
    def run():
        barrier.wait()
        try:
            use()
        except msgspec.ValidationError:
            pass
    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()

sys.setswitchinterval(1e-6)
for use in uses:
    meet(use)
print("all met")
"""


@pytest.mark.slow
def test_every_type_may_be_met_by_many_threads_at_once() -> None:
    command = [sys.executable, "-c", FIRST_USES]
    for _ in range(2):
        children = [
            subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ) for _ in range(4)
        ]
        answers = [child.communicate()[0] for child in children]
        assert answers == [b"all met\n"] * 4
