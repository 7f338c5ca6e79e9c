"""What the commands read: bodies from samples, files and standard input, and changes to them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

import typer

from karla_receiver import ConfigurationError, samples

__all__ = ["STANDARD_INPUT", "changed", "content_of", "file_content", "sample"]

STANDARD_INPUT = "-"


def content_of(source: str) -> bytes:
    """Return the bytes of a sample, of a file, or of standard input for `-`."""
    if source in samples.names():
        return samples.read(source)
    if source != STANDARD_INPUT and not Path(source).exists():
        if source.startswith(("http://", "https://")):
            raise ConfigurationError(
                f"{source!a} is a URL, and here goes what to send: a URL goes after --to"
            )
        raise ConfigurationError(f"{source!a} is neither a file nor a sample{_listed(source)}")
    return file_content(source)


def sample(name: str) -> bytes:
    """Return the bytes of a sample. Raises ConfigurationError if there is none of that name."""
    if name not in samples.names():
        raise ConfigurationError(f"no sample is called {name!a}{_listed(name)}")
    return samples.read(name)


def _listed(name: str) -> str:
    close = get_close_matches(name, samples.names(), n=1)
    meant = f"; did you mean {close[0]}?" if close else ":"
    return f"{meant} `karla-receiver samples` lists them"


def file_content(source: str) -> bytes:
    """Return the bytes of a file, or of standard input for `-`."""
    if source != STANDARD_INPUT:
        return Path(source).read_bytes()
    if sys.stdin.isatty():
        typer.echo("reading standard input; end it with Ctrl-D, or give a file", err=True)
    return sys.stdin.buffer.read()


def changed(body: bytes, settings: Iterable[str]) -> bytes:
    """Return body, which is JSON, with values set: `path=value`, as in `context.order.uuid=x`.

    A number in a path is a place in a list. A value is JSON if it can be, and text otherwise.
    Raises ConfigurationError for what is no JSON, no setting, or leads nowhere.
    """
    settings = list(settings)
    if not settings:
        return body
    try:
        event: Any = json.loads(body)
    except ValueError:
        raise ConfigurationError("--set needs a body that is JSON, and this one is not") from None
    except RecursionError:
        raise ConfigurationError("--set: the body is nested too deeply to be changed") from None
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not (path and equals):
            raise ConfigurationError(f"--set takes path=value, not {setting!a}")
        *parents, name = path.split(".")
        container = event
        for parent in parents:
            container = _child(container, parent, path)
        _place(container, name, _value(text, path), path)
    text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ConfigurationError(
            "--set: a value has no form in UTF-8, for there is half of a character in it"
        ) from None


def _value(text: str, path: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
    except RecursionError:
        raise ConfigurationError(f"--set {path!a}: the value is nested too deeply") from None


def _child(container: Any, name: str, path: str) -> Any:
    try:
        return container[_key(container, name)]
    except (LookupError, TypeError, ValueError):
        raise _leads_nowhere(name, path) from None


def _place(container: Any, name: str, value: Any, path: str) -> None:
    try:
        container[_key(container, name)] = value
    except (LookupError, TypeError, ValueError):
        raise _leads_nowhere(name, path) from None


def _key(container: Any, name: str) -> Any:
    return int(name) if isinstance(cast("object", container), list) else name


def _leads_nowhere(name: str, path: str) -> ConfigurationError:
    return ConfigurationError(f"--set {path!a}: there is no {name!a} to go to in this body")
