"""`manage.py karla_webhooks`: the program `karla-receiver webhooks`, with Django set up."""

from __future__ import annotations

from karla_receiver.adapters.django.management.program import ProgramCommand

__all__ = ["Command"]


class Command(ProgramCommand):
    """Runs `karla-receiver webhooks`."""

    program = "karla_webhooks"
    help = "Register endpoints with Karla, and keep them equal to your handlers."
