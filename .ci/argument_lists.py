"""Shows what the docstrings say of each argument as a list: for mkdocstrings, through griffe.

A docstring here has lines such as `path: where deliveries come in`, which Markdown would run
together into one paragraph.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

_ARGUMENT = re.compile(r"(\w+(?:, \w+)*): (?=\S)")
_SENTENCE = re.compile(r"(?:Raises|Returns|After|Then) ")


class ArgumentLists(Extension):
    """Rewrites each docstring once it is read, before it is parsed."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rewrite the docstring of one module, class or function; hide Python's own names."""
        if obj.docstring is not None:
            obj.docstring.value = listed(obj.docstring.value)
        if obj.is_class:
            for name in [name for name in obj.members if _is_pythons_own(name)]:
                obj.del_member(name)


def _is_pythons_own(name: str) -> bool:
    return name.startswith("__") and name not in {"__init__", "__call__"}


def listed(text: str) -> str:
    """Return a docstring with its lines on arguments as items of a list."""
    lines: list[str] = []
    in_list = False
    for line in text.splitlines():
        named = _ARGUMENT.match(line)
        if named and named[1].islower():
            if not in_list:
                lines.append("")
            lines.append(f"- `{named[1]}`: {line[named.end() :]}")
            in_list = True
        elif in_list and (not line.strip() or _SENTENCE.match(line)):
            lines += ["", line]
            in_list = False
        else:
            lines.append(line)
    return "\n".join(lines)
