"""The fuzzing itself, in a process of its own, since libFuzzer ends the process that it ran in.

Usage: python -m fuzzing.engine TARGET LIBFUZZER_ARGUMENT ...
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from fuzzing.promises import Change, Target


def main() -> None:
    """Instrument what is fuzzed, and hand over to libFuzzer, which exits."""
    _, name, *arguments = sys.argv
    atheris: Any = import_module("atheris")  # it has no types
    with atheris.instrument_imports(include=["karla_receiver", "fuzzing.planted"]):
        targets = import_module("fuzzing.targets").TARGETS
    target: Target = targets[name]
    options: dict[str, Any] = {}
    if target.change is not None:
        options["custom_mutator"] = _mutator(target.change, atheris)
    atheris.Setup([sys.argv[0], *arguments], target.check, **options)
    atheris.Fuzz()


def _mutator(change: Change, atheris: Any) -> Callable[[bytes, int, int], bytes]:
    def change_bytes(data: bytes, max_size: int) -> bytes:
        # Looked up late: starting the fuzzer puts another function there.
        changed: bytes = atheris.Mutate(data, max_size)
        return changed

    return lambda data, max_size, seed: change(data, max_size, seed, change_bytes)


if __name__ == "__main__":
    main()
