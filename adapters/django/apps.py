"""The app, for INSTALLED_APPS."""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks

__all__ = ["KarlaConfig"]


class KarlaConfig(AppConfig):
    """Brings the system checks along."""

    name = "karla_receiver.adapters.django"
    label = "karla_receiver"

    def ready(self) -> None:
        """Register the checks."""
        from karla_receiver.adapters.django.checks import check_wiring

        checks.register(check_wiring, checks.Tags.urls)
