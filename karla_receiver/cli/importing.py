"""A user's own receiver, from where it is written, as in `shop.app:receiver`."""

from __future__ import annotations

import importlib
import os
import secrets
import sys
from pathlib import Path

from karla_receiver import Receiver
from karla_receiver.errors import ConfigurationError

__all__ = ["imported_receiver"]

_SECRETS = ("KARLA_WEBHOOK_SECRET", "KARLA_WEBHOOK_SECRETS")


def imported_receiver(place: str) -> Receiver:
    """Import a receiver, from the current folder or from what is installed.

    place: module, colon, name; the name may have dots.
    A receiver that takes its secret from the environment gets one that nobody knows, if there is
    none: before an endpoint is registered there can be none.
    Raises ConfigurationError if it cannot be imported, or is no `Receiver`.
    """
    module_name, _, name = place.partition(":")
    if not module_name or not name:
        raise ConfigurationError(
            f"write module and name of the receiver, as in 'shop.app:receiver', not {place!a}"
        )
    found: object = _module(module_name)
    for part in name.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, Receiver):
        kind = "nothing" if found is None else f"a {type(found).__name__}"
        raise ConfigurationError(f"expected a Receiver at {place!a}, and found {kind}")
    return found


def _module(name: str) -> object:
    if not any(variable in os.environ for variable in _SECRETS):
        os.environ[_SECRETS[0]] = secrets.token_urlsafe(32)
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _failed(name, error) from error
        raise ConfigurationError(
            f"there is no module {name!a}: run this in the folder that it is imported from"
        ) from None
    except (Exception, SystemExit) as error:
        raise _failed(name, error) from error


def _failed(name: str, error: BaseException) -> ConfigurationError:
    return ConfigurationError(f"importing {name!a} failed: {type(error).__name__}: {error}")
