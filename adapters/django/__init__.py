"""Django: an app with views for deliveries, commands and checks. Needs the extra `django`.

`endpoint(receiver)` is the view of a receiver whose handlers do everything; `@webhook` makes a view
of your own receive events. `"karla_receiver.adapters.django"` in INSTALLED_APPS adds the checks.
"""

from __future__ import annotations

from karla_receiver.adapters.django.apps import KarlaConfig
from karla_receiver.adapters.django.checks import check_wiring
from karla_receiver.adapters.django.databases import manage_connections
from karla_receiver.adapters.django.settings import receiver_from_settings
from karla_receiver.adapters.django.views import (
    DjangoView,
    View,
    endpoint,
    to_request,
    webhook,
)

__all__ = [
    "DjangoView",
    "KarlaConfig",
    "View",
    "check_wiring",
    "endpoint",
    "manage_connections",
    "receiver_from_settings",
    "to_request",
    "webhook",
]
