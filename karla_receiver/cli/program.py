"""The program: its commands, what it says about itself, and how it ends."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from karla_receiver import ConfigurationError
from karla_receiver.cli.output import mute_stdout
from karla_receiver.cli.start_up import import_help, leave_text_as_it_is
from karla_receiver.errors import StorageError

__all__ = ["program"]

_CRASHED = 70  # what sysexits.h has for an internal error: neither wrong use nor a result

# In the order of the help: where each command is, and the first line of what it says of itself.
# A command is imported when it is used: together they bring servers and an HTTP client along.
_COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "demo": ("demo", "See a receiver at work: genuine deliveries handled, forged ones refused."),
    "listen": ("listen", "Receive deliveries on this machine, and show each as it comes."),
    "send": ("send", "Sign a delivery as Karla does, and send it."),
    "replay": ("replay", "Deliver recorded deliveries again, signed anew."),
    "sign": ("sign", "Print the Karla-Signature header's value for a body."),
    "verify": ("verify", "Verify a body against its signature header."),
    "explain": ("explain", "Say why a delivery was refused, and prove it where the signature can."),
    "diff": ("diff", "Show what differs between two recorded deliveries."),
    "drift": ("drift", "Report what recorded deliveries have that the types do not know."),
    "samples": ("list_samples", "List the sample deliveries, or print one."),
    "work": ("work", "Handle what is in a receiver's inbox, until SIGTERM or SIGINT."),
    "webhooks": (
        "webhooks",
        "Register endpoints with Karla, and keep them equal to your handlers.",
    ),
    "inbox": ("inbox", "Look into an inbox, have deliveries handled again, delete them."),
}


class _Command(TyperCommand):
    def get_params(self, ctx: Any) -> Any:
        return _prepared(super().get_params(ctx))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        import_help()
        super().format_help(ctx, formatter)


class _Group(TyperGroup):
    def get_params(self, ctx: Any) -> Any:
        return _prepared(super().get_params(ctx))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        import_help()
        super().format_help(ctx, formatter)


def _prepared(parameters: Any) -> Any:
    leave_text_as_it_is(parameters)
    for parameter in parameters:
        if isinstance(parameter, TyperOption) and parameter.is_flag:
            parameter.metavar = ""  # not <bool>, which asks for a value
    return parameters


class _Program(_Group):
    """Imports a command when it is used, and ends every one in the same way."""

    def __init__(self, **options: Any) -> None:
        options["commands"] = {
            name: TyperCommand(name, help=sentence) for name, (_, sentence) in _COMMANDS.items()
        }
        super().__init__(**options)
        self._loaded: dict[str, Any] = {}

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        # In manage.py they are karla_work and so on, and called so in their help.
        return super().get_command(ctx, cmd_name.removeprefix("karla_"))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, listed, rest = super().resolve_command(ctx, args)
        if listed is None or listed.name is None:
            return name, listed, rest
        if listed.name not in self._loaded:
            self._loaded[listed.name] = _command(listed.name)
        return name, self._loaded[listed.name], rest

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


def _command(name: str) -> Any:
    attribute, _ = _COMMANDS[name]
    found = getattr(import_module(f"karla_receiver.cli.{name}"), attribute)
    if isinstance(found, typer.Typer):
        found.info.cls = _Group
        for command in found.registered_commands:
            command.cls = _Command
        return typer.main.get_group(found)
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    alone.command(name, cls=_Command)(found)
    return typer.main.get_command(alone)


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
        from importlib.metadata import version  # which costs as much as all the rest of the help

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
