"""A user's own receiver, from where it is written, as in `shop.app:receiver`."""

from __future__ import annotations

import importlib
import os
import secrets
import sys
import sysconfig
import traceback
from pathlib import Path

from karla_receiver import Receiver
from karla_receiver.cli import django_project
from karla_receiver.errors import ConfigurationError
from karla_receiver.signature.keys import SECRET_NAMES

__all__ = ["chosen_receiver", "imported_receiver"]

# Whose lines tell users nothing of their own mistake.
_NOT_THE_USERS = (Path(__file__).parents[1], Path(sysconfig.get_path("stdlib")))


def chosen_receiver(
    place: str | None, own: Receiver | None, *, is_before_registration: bool = False
) -> Receiver:
    """Import the receiver at a place, as `imported_receiver` does, or return the program's own.

    own: the receiver of the application whose command the program is, if it is one's.
    Raises ConfigurationError as `imported_receiver` does, and if there is neither.
    """
    if place is not None:
        return imported_receiver(place, is_before_registration=is_before_registration)
    if own is None:
        raise ConfigurationError("write where your receiver is, as in shop.app:receiver")
    return own


def imported_receiver(place: str, *, is_before_registration: bool = False) -> Receiver:
    """Import a receiver, from the current folder or from what is installed.

    place: module, colon, name; the name may have dots.
    is_before_registration: a receiver that takes its secret from the environment gets one that
    nobody knows, if there is none: before an endpoint is registered there can be none.
    Raises ConfigurationError if it cannot be imported, with the user's line that failed, or is no
    `Receiver`. Django is set up before, if DJANGO_SETTINGS_MODULE is there.
    """
    module_name, _, name = place.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), *name.split("."))):
        raise ConfigurationError(
            f"write module and name of the receiver, as in 'shop.app:receiver', not {place!a}:"
            " a module is named with dots, from the folder that it is imported from"
        )
    if is_before_registration and not any(variable in os.environ for variable in SECRET_NAMES):
        os.environ[SECRET_NAMES[0]] = secrets.token_urlsafe(32)
    _look_in_current_folder()
    _set_up_django()
    found: object = _module(module_name)
    for part in name.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, Receiver):
        kind = "nothing" if found is None else f"a {type(found).__name__}"
        raise ConfigurationError(f"expected a Receiver at {place!a}, and found {kind}")
    django_project.adopt(found)
    return found


def _look_in_current_folder() -> None:
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)


def _set_up_django() -> None:
    try:
        django_project.set_up()
    except (Exception, SystemExit) as error:
        name = os.environ["DJANGO_SETTINGS_MODULE"]
        raise ConfigurationError(
            f"setting up Django with DJANGO_SETTINGS_MODULE={name!a} failed{_line_of(error)}:"
            f" {type(error).__name__}: {error}"
        ) from error


def _module(name: str) -> object:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _failed(name, error) from error  # it is there, and lacks something itself
        raise ConfigurationError(
            f"there is no module {name!a} in {Path.cwd()} or among what is installed:"
            " run this in the folder that it is imported from"
        ) from None
    except (Exception, SystemExit) as error:
        raise _failed(name, error) from error


def _failed(name: str, error: BaseException) -> ConfigurationError:
    return ConfigurationError(
        f"importing {name!a} failed{_line_of(error)}: {type(error).__name__}: {error}"
    )


def _line_of(error: BaseException) -> str:
    """Return where it was raised: the last line that is the user's, neither ours nor Python's."""
    if isinstance(error, SyntaxError) and error.filename is not None:
        return f" at {error.filename}, line {error.lineno}"
    lines = [
        f" at {frame.filename}, line {frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if _is_the_users(frame.filename)
    ]
    return lines[-1] if lines else ""


def _is_the_users(filename: str) -> bool:
    path = Path(filename)
    is_special = filename.startswith("<")  # Python's own importing
    is_installed = "site-packages" in path.parts
    return not (is_special or is_installed or any(map(path.is_relative_to, _NOT_THE_USERS)))
