"""`manage.py karla_work`: the program `karla-receiver work`, with Django set up."""

from __future__ import annotations

from karla_receiver.adapters.django.management.program import ProgramCommand

__all__ = ["Command"]


class Command(ProgramCommand):
    """Runs `karla-receiver work`."""

    program = "karla_work"
    help = "Handle what is in a receiver's inbox."
