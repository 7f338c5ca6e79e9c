"""Django projects: set up before a receiver is imported from one."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

from karla_receiver import Receiver

__all__ = ["adopt", "set_up"]


def set_up() -> None:
    """Set Django up if DJANGO_SETTINGS_MODULE names settings and Django is installed.

    The settings are imported from where Python looks for modules. Raises what they raise.
    """
    if "DJANGO_SETTINGS_MODULE" in os.environ and find_spec("django"):
        import django

        django.setup()  # without effect the second time


def adopt(receiver: Receiver) -> None:
    """Manage the database connections of the receiver's handlers, if Django is set up."""
    apps = sys.modules.get("django.apps")
    if apps is not None and apps.apps.ready:
        from karla_receiver.adapters.django import manage_connections

        manage_connections(receiver)
