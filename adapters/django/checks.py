"""The system checks: webhook views that no delivery reaches, or that fail for each delivery."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import iscoroutinefunction

from django.conf import settings
from django.core import checks
from django.urls import URLResolver, get_resolver

from karla_receiver import ConfigurationError
from karla_receiver.adapters._settings import SettingsReceiver
from karla_receiver.adapters.django.databases import atomic_aliases
from karla_receiver.adapters.django.views import MARK, DjangoView, Mount

__all__ = ["check_wiring"]


def check_wiring(**options: object) -> list[checks.CheckMessage]:
    """Find webhook views that no delivery gets to, or that fail for each delivery."""
    if not getattr(settings, "ROOT_URLCONF", None):
        return []  # a project without URLs, as a worker's
    found = [view for view in _views(get_resolver()) if hasattr(view, MARK)]
    if not found:
        hint = "Put endpoint(receiver), or a view made with @webhook, into the URLconf."
        return [checks.Warning("No URL leads to a webhook view.", hint, id="karla_receiver.W001")]
    return [message for view in found for message in _faults(view, getattr(view, MARK))]


def _faults(view: DjangoView, mount: Mount) -> Iterator[checks.CheckMessage]:
    if mount.view is not view:
        yield checks.Warning(
            f"Another decorator is around the webhook view {view.__qualname__}.",
            "It runs for requests that nobody has verified. Put @webhook on top.",
            id="karla_receiver.W002",
        )
    if not mount.receiver.enabled_events:
        yield checks.Warning(
            f"The receiver of the webhook view {view.__qualname__} has no handler.",
            "Every delivery is acknowledged and dropped. Register functions with @receiver.on, and"
            " import their module where the receiver is mounted.",
            id="karla_receiver.W003",
        )
    if isinstance(mount.receiver, SettingsReceiver) and (problem := _unusable(mount.receiver)):
        yield checks.Error(
            f"The webhook view {view.__qualname__} has no secret: {problem}.",
            "Django would answer every delivery with 500.",
            id="karla_receiver.E002",
        )
    if iscoroutinefunction(view) and atomic_aliases(getattr(view, "_non_atomic_requests", ())):
        yield checks.Error(
            f"ATOMIC_REQUESTS and the async webhook view {view.__qualname__} exclude each other.",
            "Django would answer every delivery with 500. Make the view sync, or decorate it with"
            " transaction.non_atomic_requests.",
            id="karla_receiver.E001",
        )


def _unusable(receiver: SettingsReceiver) -> str | None:
    try:
        receiver.read_settings()
    except ConfigurationError as error:
        return str(error)
    return None


def _views(resolver: URLResolver) -> Iterator[DjangoView]:
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLResolver):
            yield from _views(pattern)
        else:
            yield pattern.callback
