"""The program: its commands, what it says about itself, and how it ends."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from karla_receiver import ConfigurationError
from karla_receiver.cli.demo import demo
from karla_receiver.cli.explain import explain
from karla_receiver.cli.inbox import inbox
from karla_receiver.cli.listen import listen
from karla_receiver.cli.replay import replay
from karla_receiver.cli.samples import list_samples
from karla_receiver.cli.send import send
from karla_receiver.cli.sign import sign
from karla_receiver.cli.terminal import mute_stdout
from karla_receiver.cli.verify import verify
from karla_receiver.cli.webhooks import webhooks
from karla_receiver.cli.work import work
from karla_receiver.errors import StorageError

__all__ = ["program"]

_CRASHED = 70  # what sysexits.h has for an internal error: neither wrong use nor a result


class _Program(TyperGroup):
    """Ends every command in the same way, whatever it raises."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        # In manage.py they are karla_work and so on, and called so in their help.
        return super().get_command(ctx, cmd_name.removeprefix("karla_"))

    def main(self, *args: Any, **options: Any) -> Any:
        try:
            return super().main(*args, **options)
        except BrokenPipeError:
            pass
        except SystemExit as error:
            # For help and for a closed pipe the libraries end the program by themselves.
            if not isinstance(error.__context__, BrokenPipeError):
                raise
        # Whoever read it has seen enough.
        mute_stdout()
        sys.exit(0)

    def invoke(self, ctx: Any) -> Any:
        try:
            try:
                return super().invoke(ctx)
            finally:
                sys.stdout.flush()
        except BrokenPipeError:
            raise
        except (ConfigurationError, StorageError, OSError) as error:
            if ctx.params["debug"]:
                raise
            # Not as a BadParameter, which the library would call an invalid value of an option.
            typer.echo(f"karla-receiver: {_told(error)}", err=True)
            raise typer.Exit(2) from None
        except Exception as error:
            if getattr(error, "option_name", None) == "--debug":
                raise typer.BadParameter(
                    "--debug goes before the command, as in `karla-receiver --debug send`"
                ) from None
            if isinstance(error, typer.BadParameter):
                error.message = _in_plain_words(error.message)
            # Those with a status are the library's own way to end a command.
            is_ours = isinstance(error, typer.Abort | ModuleNotFoundError)
            if is_ours or hasattr(error, "exit_code") or ctx.params["debug"]:
                raise
            kind = type(error).__name__
            typer.echo(f"internal error: {kind}; `karla-receiver --debug` shows where", err=True)
            raise typer.Exit(_CRASHED) from None


def _in_plain_words(message: str) -> str:
    # Of the library that the library leaves the checking of values to.
    return message.removeprefix("Value error, ").replace("Input should be", "it must be")


def _told(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


program: typer.Typer = typer.Typer(
    cls=_Program,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,  # they can show local variables, and so a secret
)


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"karla-receiver {version('karla-receiver')}")
        raise typer.Exit


@program.callback()
def describe(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Show where an error came from. Give it before the command."),
    ] = False,
) -> None:
    """Receive webhooks from Karla: see it work, try it out, find out what is wrong.

    Examples:

      karla-receiver demo
      karla-receiver listen
      karla-receiver send
      karla-receiver explain deliveries.jsonl

    Exit status of every command: 0 for success, 1 for a negative result, 2
    for wrong usage, 130 if interrupted, 70 for an error in this program.
    """


program.command()(demo)
program.add_typer(webhooks)
program.command()(listen)
program.command()(send)
program.command()(replay)
program.command()(sign)
program.command()(verify)
program.command()(explain)
program.command("samples")(list_samples)
program.add_typer(inbox, name="inbox")
program.command()(work)
