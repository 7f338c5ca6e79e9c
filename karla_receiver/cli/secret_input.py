"""Where the commands take a secret from: a file, the environment or a prompt, never an argument.

Arguments are seen by every user of the machine and stay in the shell's history.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

from karla_receiver import ConfigurationError
from karla_receiver.signature.keys import SECRET_NAMES

__all__ = ["ONE", "SEVERAL", "SecretFile", "ask_or_refuse", "configured_secrets", "secret_in_file"]

ONE, SEVERAL = SECRET_NAMES
_INTERRUPTED: Final = 130

SecretFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help=f"Read the secret from this file. Without it: {ONE}, or {SEVERAL} with commas.",
        dir_okay=False,
    ),
]


def configured_secrets(file: Path | None) -> tuple[str, ...]:
    """Return the secrets of a file, or those of the environment; none if there are none.

    Raises ConfigurationError for a file that cannot be read, and if both variables are set.
    """
    if file is not None:
        return (secret_in_file(file, "--secret-file"),)
    if ONE in os.environ and SEVERAL in os.environ:
        raise ConfigurationError(f"both {ONE} and {SEVERAL} are set: unset one of them")
    if SEVERAL in os.environ:
        return tuple(os.environ[SEVERAL].split(","))
    return (os.environ[ONE],) if ONE in os.environ else ()


def secret_in_file(file: Path, option: str) -> str:
    """Return the secret in a file, without the newline at its end.

    option: by which the file was given.
    Raises ConfigurationError if it is not there, or no text.
    """
    try:
        text = file.read_bytes().decode()
    except FileNotFoundError:
        raise ConfigurationError(f"{option} {str(file)!a}: there is no such file") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{file} holds no text in UTF-8, so no secret") from None
    return text.removesuffix("\n").removesuffix("\r")


def ask_or_refuse(file: Path | None) -> tuple[str, ...]:
    """Return the configured secrets, or ask for one if somebody is there to answer.

    Raises ConfigurationError if there is none and nobody to ask.
    """
    secrets = configured_secrets(file)
    if secrets:
        return secrets
    if not sys.stdin.isatty():
        raise ConfigurationError(
            f"no secret: set {ONE} or give --secret-file (there is no terminal here to ask at)"
        )
    try:
        answer: str = typer.prompt("Karla's webhook secret", hide_input=True, err=True)
    except typer.Abort:  # Ctrl-C; it would end in 1, as if something had been refused
        raise typer.Exit(_INTERRUPTED) from None
    return (answer,)
