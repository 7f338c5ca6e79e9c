"""Keeps the start of a command short: what Typer would import and this program does not use.

Nothing here changes what a command does. If a later Typer works in another way, it imports these
libraries by itself again, and commands only start later.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import Any, Final

__all__ = ["Unconverted", "import_help", "leave_text_as_it_is"]

_HELP: Final = "typer.rich_utils"

# Two thirds of the time that Typer's help takes to import. This program writes no Markdown in its
# help, and has its own way with exceptions.
_UNUSED_IN_HELP: Final = (("rich.markdown", "Markdown"), ("rich.traceback", "Traceback"))


def import_help() -> None:
    """Import what Typer formats help with, and put off importing the classes that it hardly uses.

    Another program in this process that uses Typer finds them when it calls them.
    """
    if _HELP in sys.modules:
        return
    stand_ins: dict[str, ModuleType] = {}
    for module_name, class_name in _UNUSED_IN_HELP:
        if module_name not in sys.modules:
            stand_ins[module_name] = ModuleType(module_name)
            setattr(stand_ins[module_name], class_name, _PutOff(module_name, class_name))
    sys.modules.update(stand_ins)
    try:
        # It may want more of them, or a class to derive from: then it imports them as ever.
        with suppress(ImportError, TypeError):
            import_module(_HELP)
    finally:
        for module_name in stand_ins:
            del sys.modules[module_name]


class _PutOff:
    """Stands in for a class, whose module is imported when the class is used."""

    def __init__(self, module: str, name: str) -> None:
        self._module = module
        self._name = name

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self._real()(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real(), name)

    def __or__(self, other: Any) -> Any:
        return other  # in an annotation, which nobody looks at

    __ror__ = __or__

    def _real(self) -> Any:
        return getattr(import_module(self._module), self._name)


def leave_text_as_it_is(parameters: Iterable[Any]) -> None:
    """Convert values of Typer's parameters only where there is something to convert.

    Typer imports Pydantic to convert any value, even a text to a text.
    """
    for parameter in parameters:
        convert = getattr(parameter, "get_runtime_param", None)
        if convert is not None and not isinstance(convert, Unconverted):
            parameter.get_runtime_param = Unconverted(parameter)


class Unconverted:
    """What Typer asks for a parameter's value: the value itself if it is a text or left out."""

    def __init__(self, parameter: Any) -> None:
        self._parameter = parameter
        self._conversion = parameter.get_runtime_param

    def __call__(self) -> Unconverted:
        """Return what converts."""
        return self

    def coerce(self, value: Any, *place: Any, **named: Any) -> Any:
        """Return the value, converted if the parameter is anything but a text."""
        parameter = self._parameter
        if value is None:
            return () if parameter.multiple or parameter.nargs == -1 else None
        if isinstance(value, str) and _is_of_text(parameter):
            return value
        return self._conversion().coerce(value, *place, **named)


def _is_of_text(parameter: Any) -> bool:
    described = getattr(parameter, "type_descriptor", None)
    information = getattr(described, "parameter_info", None)
    is_converted = getattr(information, "parser", True) is not None
    return getattr(described, "annotation", None) is str and not is_converted
