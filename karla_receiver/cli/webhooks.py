"""The commands `webhooks`: what is registered with Karla, from a terminal or a deployment."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

from karla_receiver.cli.completion import patterns
from karla_receiver.cli.failures import told_plainly
from karla_receiver.cli.importing import chosen_receiver
from karla_receiver.cli.registrations import JSONLines, Rows, Showing
from karla_receiver.cli.secret_file import SecretFile, SecretLostError
from karla_receiver.cli.terminal import AsJSON, mute_stdout, told_if_slow
from karla_receiver.errors import ConfigurationError
from karla_receiver.registration import KarlaAPI, Secret, Status, Step, Webhook, next_step
from karla_receiver.registration.limits import (
    checked_events,
    checked_secret,
    checked_url,
    is_same_url,
)
from karla_receiver.vocabulary import Source

__all__ = ["webhooks"]

webhooks: typer.Typer = typer.Typer(
    name="webhooks", no_args_is_help=True, pretty_exceptions_enable=False
)

_INTERRUPTED = (
    "karla-receiver: interrupted: if the webhook was created, its secret is lost: see"
    " `karla-receiver webhooks list`, delete the webhook, and create another one"
)

_AFTER: Final = {
    Step.CREATE: (
        "Next: deploy with both secrets, the new one first, as KARLA_WEBHOOK_SECRETS=new,old in"
        " place of KARLA_WEBHOOK_SECRET. Then run this again."
    ),
    Step.ACTIVATE: (
        "Each event comes twice now, once under each secret. Next: see that deliveries under the"
        " new one are accepted. Then run this again."
    ),
    Step.DELETE: (
        "Next: wait until the old secret is no longer seen. Then deploy with the new one alone, as"
        " KARLA_WEBHOOK_SECRET."
    ),
}
_URL_HELP: Final = "Your endpoint's URL: https, and reachable by Karla."
_Events: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--event",
        help="A pattern, as in shipments/delivered. May be repeated.",
        autocompletion=patterns,
    ),
]
_URLOrUUID: TypeAlias = Annotated[
    str, typer.Argument(metavar="URL|UUID", help="The registered URL, or the webhook's uuid.")
]
_Description: TypeAlias = Annotated[
    str | None, typer.Option("--description", help="A note, for those who read the list.")
]
_SaveSecret: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--save-secret", metavar="FILE", help="Write the secret to this new file; do not show it."
    ),
]
_Yes: TypeAlias = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@webhooks.callback()
def describe() -> None:
    """Register endpoints with Karla, and keep them equal to your handlers.

    Needs in the environment: KARLA_SHOP_SLUG and KARLA_API_KEY, and
    KARLA_API_USERNAME if the key has a name of its own.

    Examples:

      karla-receiver webhooks list
      karla-receiver webhooks sync https://shop.example/karla shop:receiver

    Exit status: 0 if it was done, 1 if Karla did not do it or there is a
    difference, 2 for wrong usage, 130 if interrupted.
    """


@webhooks.command("list")
def list_webhooks(
    context: typer.Context,
    status: Annotated[
        Status | None, typer.Option("--status", help="Only those that are active or inactive.")
    ] = None,
    as_json: AsJSON = False,
) -> None:
    """Show the shop's webhooks; never their secrets.

    Examples:

      karla-receiver webhooks list
      karla-receiver webhooks list --status inactive
      karla-receiver webhooks list --json | jq .url

    Exit status: 0 if Karla answered, 1 if not, 2 for wrong usage, 130 if
    interrupted.
    """
    with _calling(context) as api, _waiting():
        _showing(as_json).webhooks(api.webhooks(status=status))


@webhooks.command()
def create(
    context: typer.Context,
    url: Annotated[str, typer.Argument(help=_URL_HELP)],
    events: _Events = None,
    description: _Description = None,
    inactive: Annotated[
        bool, typer.Option("--inactive", help="Register it, but let Karla send nothing yet.")
    ] = False,
    save_secret: _SaveSecret = None,
    secret_env: Annotated[
        str | None,
        typer.Option(
            "--secret-env",
            metavar="NAME",
            help="Take the secret from this environment variable; Karla makes one otherwise.",
        ),
    ] = None,
    yes: _Yes = False,
    as_json: AsJSON = False,
) -> None:
    """Register an endpoint, and show its secret, which Karla gives once.

    Without --event it gets every event. Asks before if the URL has an active
    webhook already: each event would come twice.

    Examples:

      karla-receiver webhooks create https://shop.example/karla
      karla-receiver webhooks create https://shop.example/karla \\
        --event shipments/delivered --event claims --save-secret karla.secret

    Exit status: 0 if it is registered, 1 if not or its secret is lost, 2 for
    wrong usage, 130 if interrupted.
    """
    with _calling(context) as api:
        if save_secret is not None and secret_env is not None:
            raise ConfigurationError("name --save-secret or --secret-env: one is where you have it")
        own = None if secret_env is None else checked_secret(_secret_in(secret_env))
        # Before a call is made: wrong use must not depend on an answer.
        url, enabled_events = checked_url(url), checked_events(events or ["*"])
        with _secret_kept(save_secret, is_given_once=own is None) as file:
            if not (yes or inactive or _may_double(api, url)):
                raise typer.Exit(1)
            with _waiting():
                webhook = api.create(
                    url,
                    enabled_events=enabled_events,
                    secret=own,
                    description=description,
                    status=Status.INACTIVE if inactive else Status.ACTIVE,
                )
            showing = _showing(as_json)
            if own is not None and webhook.secret == own:
                showing.changed(webhook)  # they have the secret
            else:
                _show_created(showing, webhook, file, save_secret)
        _warn_of_unknown(events)


@webhooks.command()
def update(
    context: typer.Context,
    url_or_uuid: _URLOrUUID,
    events: _Events = None,
    url: Annotated[str | None, typer.Option("--url", help="The endpoint's new URL.")] = None,
    status: Annotated[
        Status | None, typer.Option("--status", help="Let Karla send, or send nothing.")
    ] = None,
    description: _Description = None,
    as_json: AsJSON = False,
) -> None:
    """Change a webhook; what is not named stays as it is.

    --event replaces all events that were enabled. To change the secret, see
    `karla-receiver webhooks rotate`.

    Examples:

      karla-receiver webhooks update https://shop.example/karla \\
        --status inactive
      karla-receiver webhooks update https://shop.example/karla --event claims

    Exit status: 0 if it was changed, 1 if not, 2 for wrong usage, 130 if
    interrupted.
    """
    with _calling(context) as api:
        with _waiting():
            changed = api.update(
                url_or_uuid,
                url=url,
                enabled_events=events or None,
                description=description,
                status=status,
            )
        _showing(as_json).changed(changed)
        _warn_of_unknown(events)


@webhooks.command()
def delete(
    context: typer.Context, url_or_uuid: _URLOrUUID, yes: _Yes = False, as_json: AsJSON = False
) -> None:
    """Delete a webhook: Karla sends nothing to it any more. Asks before.

    Examples:

      karla-receiver webhooks delete https://shop.example/karla
      karla-receiver webhooks delete 7b0f3e52-8f0e-4f6e-9a39-1f5f6c0d2a11 --yes

    Exit status: 0 if it was deleted, 1 if not, 2 for wrong usage, 130 if
    interrupted.
    """
    with _calling(context) as api:
        with _waiting():
            webhook = api.get(url_or_uuid)
        if not (yes or _is_agreed(f"Delete {webhook.url} ({webhook.uuid})?")):
            raise typer.Exit(1)
        with _waiting():
            api.delete(webhook.uuid)
        _showing(as_json).deleted(webhook.uuid)


@webhooks.command()
def rotate(
    context: typer.Context,
    url: Annotated[str, typer.Argument(help="The registered URL.")],
    save_secret: _SaveSecret = None,
    yes: _Yes = False,
    as_json: AsJSON = False,
) -> None:
    """Replace a webhook's secret, a step at each call. Asks before each.

    Sees from what is registered which step is next: creates a second webhook,
    switched off; switches it on; deletes the older one. After each it says
    what to do before the next. Deletes nothing if it is not certain which of
    them is old.

    Examples:

      karla-receiver webhooks rotate https://shop.example/karla \\
        --save-secret karla-new.secret
      karla-receiver webhooks rotate https://shop.example/karla

    Exit status: 0 if the step was done, 1 if not or the secret is lost, 2 for
    wrong usage or if the step is not certain, 130 if interrupted.
    """
    with _calling(context) as api:
        with _waiting():
            rotation = next_step(api.webhooks(), url)
        old, new = rotation.old, rotation.new
        if not (yes or _is_agreed(_question(old, new))):
            raise typer.Exit(1)
        showing = _showing(as_json)
        if new is None:
            with _secret_kept(save_secret, is_given_once=True) as file:
                with _waiting():
                    new = api.create(
                        url,
                        enabled_events=old.enabled_events,
                        description=old.description,
                        status=Status.INACTIVE,
                    )
                _show_created(showing, new, file, save_secret)
            if new.uuid == old.uuid:
                raise typer.Exit(1)  # Karla gave the old one back, which was told
        elif rotation.step == Step.ACTIVATE:
            with _waiting():
                changed = api.update(new.uuid, status=Status.ACTIVE)
            showing.changed(changed)
        else:
            with _waiting():
                api.delete(old.uuid)
            showing.deleted(old.uuid)
        typer.echo(_AFTER[rotation.step], err=True)


@webhooks.command()
def sync(
    context: typer.Context,
    url: Annotated[str, typer.Argument(help=_URL_HELP)],
    receiver: Annotated[
        str | None,
        typer.Argument(
            metavar="MODULE:RECEIVER",
            help="Your receiver, as in shop.app:receiver. `flask karla` knows the app's.",
        ),
    ] = None,
    yes: _Yes = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only show the difference; exit with 1 if there is one."),
    ] = False,
    save_secret: _SaveSecret = None,
    as_json: AsJSON = False,
) -> None:
    """Have Karla send what your handlers need, and nothing else.

    Imports your receiver, compares what its handlers need with what is
    registered for the URL, shows the difference, asks, and changes it. An
    endpoint that is not registered is, and its secret is shown.

    Examples:

      karla-receiver webhooks sync https://shop.example/karla shop:receiver
      karla-receiver webhooks sync https://shop.example/karla shop:receiver \\
        --dry-run
      karla-receiver webhooks sync https://shop.example/karla shop:receiver \\
        --yes --save-secret karla.secret

    Exit status: 0 if nothing is left to change, 1 if something is or a secret
    is lost, 2 for wrong usage, 130 if interrupted.
    """
    showing = _showing(as_json)
    with _calling(context) as api:
        own = context.find_root().obj
        chosen = chosen_receiver(receiver, own, is_before_registration=True)
        with _waiting():
            plan = api.plan(url, chosen)
        showing.plan(plan)
        if plan.is_empty:
            return
        if dry_run or not (yes or _is_agreed("Change this?")):
            raise typer.Exit(1)
        creates = any(change.webhook is None for change in plan.changes)
        with _secret_kept(save_secret, is_given_once=creates) as file:
            with _waiting():
                changed = api.apply(plan)
            for webhook in changed:
                if creates:
                    _show_created(showing, webhook, file, save_secret)
                else:
                    showing.changed(webhook)


def _may_double(api: KarlaAPI, url: str) -> bool:
    """Ask whether to register a URL once more, if it gets events already."""
    with _waiting():
        active = [
            each
            for each in api.webhooks()
            if is_same_url(each.url, url) and each.status == Status.ACTIVE
        ]
    if not active:
        return True
    told = ", ".join(f"{each.uuid} ({each.age})" for each in active)
    return _is_agreed(
        f"{url} is registered and active: {told}. Each event would come twice. Create another"
        " webhook all the same?"
    )


def _question(old: Webhook, new: Webhook | None) -> str:
    if new is None:
        return (
            f"Create a second webhook for {old.url}, switched off, with the events of"
            f" {old.uuid} ({old.age})?"
        )
    if new.status == Status.ACTIVE:
        return (
            f"The old webhook {old.uuid} ({old.status}, {old.age}) is deleted. The new one"
            f" {new.uuid} ({new.age}) stays, and is active. Go on?"
        )
    return (
        f"Do all processes have both secrets? Then the new webhook {new.uuid} ({new.age}) is"
        " switched on. Go on?"
    )


@contextmanager
def _calling(context: typer.Context) -> Generator[KarlaAPI]:
    is_debugging = bool(context.find_root().params.get("debug"))
    with told_plainly(debug=is_debugging), KarlaAPI.from_env() as api:
        yield api


def _waiting() -> AbstractContextManager[None]:
    return told_if_slow("waiting for Karla ...")


def _warn_of_unknown(events: list[str] | None) -> None:
    # Karla may add a source any day: that is no reason to refuse one.
    for event in events or ():
        if event.partition("/")[0] not in {"*", *Source}:
            known = " and ".join(Source)
            typer.echo(
                f"karla-receiver: warning: {event!a} matches nothing that is known: the events"
                f" of Karla begin with {known}",
                err=True,
            )


def _showing(as_json: bool) -> Showing:
    return JSONLines() if as_json else Rows()


@contextmanager
def _secret_kept(path: Path | None, *, is_given_once: bool) -> Generator[SecretFile | None]:
    if not is_given_once:
        yield None
        return
    # By itself SIGTERM would end it without a word, and leave an empty file.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with nullcontext() if path is None else SecretFile(path) as file:
            try:
                yield file
            except KeyboardInterrupt:
                if file is None or not file.is_written:
                    typer.echo(_INTERRUPTED, err=True)
                raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _show_created(
    showing: Showing, webhook: Webhook, file: SecretFile | None, path: Path | None
) -> None:
    if file is not None and webhook.secret is not None:
        file.write(webhook.secret)
        showing.created(webhook, webhook.secret, path)
        return
    try:
        showing.created(webhook, webhook.secret, None)
    except OSError as error:
        if webhook.secret is None:
            raise
        mute_stdout()  # or what could not be written would fail once more, at the end
        raise SecretLostError(
            f"cannot show the new webhook's secret ({error.strerror}), and so it is lost: delete"
            " the webhook, and create another one"
        ) from None


def _secret_in(variable: str) -> Secret:
    try:
        return Secret(os.environ[variable])
    except KeyError:
        raise ConfigurationError(
            f"{variable} is not set: export the secret under this name, or leave out --secret-env"
        ) from None


def _is_agreed(question: str) -> bool:
    # To stderr: what goes to stdout may be read by a program.
    typer.echo(f"{question} [y/N] ", nl=False, err=True)
    try:
        answer = input()
    except EOFError:
        raise ConfigurationError("nobody is there to answer: say --yes to go on") from None
    return answer.strip().lower() in {"y", "yes"}
