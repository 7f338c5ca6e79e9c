"""Runs a command of `karla-receiver` as a command of manage.py, with the same arguments."""

from __future__ import annotations

from argparse import REMAINDER
from typing import Any, Literal

from django.core.management.base import BaseCommand, CommandError, CommandParser

__all__ = ["ProgramCommand"]


class ProgramCommand(BaseCommand):
    """A command whose arguments, and whose help, are those of the program.

    Of Django's own options it takes --settings and --pythonpath.
    program: the name of the command, as in `manage.py karla_work`.
    """

    program: str
    requires_system_checks: (  # a worker needs no URLs
        list[str] | tuple[str, ...] | Literal["__all__"]
    ) = ()

    def run_from_argv(self, argv: list[str]) -> None:
        """Run the program with what follows its name, and exit with its status."""
        # Django has dealt with these two already, wherever they stand.
        parser = CommandParser(add_help=False, allow_abbrev=False)
        parser.add_argument("--settings")
        parser.add_argument("--pythonpath")
        self._run(parser.parse_known_args(argv[2:])[1])

    def print_help(self, prog_name: str, subcommand: str) -> None:
        """Print the program's own help, and exit."""
        self._run(["--help"])

    def add_arguments(self, parser: CommandParser) -> None:
        """Take any arguments, for `call_command`."""
        parser.add_argument("arguments", nargs=REMAINDER)

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the program for `call_command`. Raises CommandError if it fails."""
        try:
            self._run(options["arguments"])
        except SystemExit as ended:
            if ended.code:
                message = f"{self.program} ended with status {ended.code}"
                raise CommandError(message, returncode=int(ended.code)) from None

    def _run(self, arguments: list[str]) -> None:
        from karla_receiver.cli import main  # it says what is missing without the extra

        main([self.program, *arguments], name="manage.py")
