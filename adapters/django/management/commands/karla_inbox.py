"""`manage.py karla_inbox`: the program `karla-receiver inbox`, with Django set up."""

from __future__ import annotations

from karla_receiver.adapters.django.management.program import ProgramCommand

__all__ = ["Command"]


class Command(ProgramCommand):
    """Runs `karla-receiver inbox`."""

    program = "karla_inbox"
    help = "Look into an inbox, have deliveries handled again, delete them."
