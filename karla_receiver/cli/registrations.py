"""Showing registered webhooks, and what a sync would change: rows for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC
from pathlib import Path
from typing import Protocol

import msgspec
from rich.text import Text

from karla_receiver.checks import printable
from karla_receiver.cli.terminal import Terminal, write_json
from karla_receiver.registration import Secret, SyncPlan, Webhook

__all__ = ["JSONLines", "Rows", "Showing"]


class Showing(Protocol):
    """Shows what a command found or did."""

    def webhooks(self, found: Iterable[Webhook]) -> None:
        """Show webhooks, each as soon as it is there."""

    def created(self, webhook: Webhook, secret: Secret | None, kept_in: Path | None) -> None:
        """Show a new webhook, and its secret unless it was written to a file."""

    def changed(self, webhook: Webhook) -> None:
        """Show a webhook as it is now."""

    def deleted(self, url_or_uuid: str) -> None:
        """Show that a webhook is gone."""

    def plan(self, plan: SyncPlan) -> None:
        """Show what a sync would change."""


class Rows:
    """A few lines for each webhook."""

    def __init__(self) -> None:
        self._terminal = Terminal()

    def webhooks(self, found: Iterable[Webhook]) -> None:
        """Show webhooks, or that there is none."""
        is_empty = True
        for webhook in found:
            is_empty = False
            self._webhook(webhook)
        if is_empty:
            self._print("No webhook is registered.")

    def created(self, webhook: Webhook, secret: Secret | None, kept_in: Path | None) -> None:
        """Show a new webhook, and its secret, which is not to be had again."""
        self._webhook(webhook)
        if kept_in is not None:
            self._print(f"\nIts secret is in {kept_in}, which only you can read.")
        elif secret is not None:
            self._print("\nIts secret, shown this once. Keep it as KARLA_WEBHOOK_SECRET:\n")
            self._print(f"  {secret.reveal()}", "bold")
        else:
            self._print(
                "\nKarla gave no secret: the webhook may have been there before. If its secret is"
                " lost, create another one for the URL and delete this one."
            )

    def changed(self, webhook: Webhook) -> None:
        """Show a webhook as it is now."""
        self._webhook(webhook)

    def deleted(self, url_or_uuid: str) -> None:
        """Show that a webhook is gone."""
        self._print(f"Deleted {url_or_uuid}.")

    def plan(self, plan: SyncPlan) -> None:
        """Show a difference, line by line: + is to be enabled, - to be disabled."""
        for webhook in plan.unchanged:
            self._print(f"{plan.url} is as it should be ({webhook.uuid}, {webhook.status}).")
        for change in plan.changes:
            what = "to be created" if change.webhook is None else change.webhook.uuid
            self._print(f"{plan.url} ({what})", "bold")
            for pattern in change.added:
                self._print(f"  + {pattern}", "green")
            for pattern in change.removed:
                self._print(f"  - {pattern}", "red")

    def _webhook(self, webhook: Webhook) -> None:
        style = "green" if webhook.status == "active" else "yellow"
        self._print(Text.assemble((printable(webhook.url), "bold"), "  ", (webhook.status, style)))
        self._print(f"  uuid    {webhook.uuid}")
        if webhook.created_at is not None:
            created = webhook.created_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
            self._print(f"  created {created}, {webhook.age}")
        self._print(f"  events  {', '.join(webhook.enabled_events)}")
        if webhook.description:
            self._print(f"  note    {webhook.description}")

    def _print(self, text: str | Text, style: str = "") -> None:
        self._terminal.print(
            Text(printable(text, keeps_lines=True), style) if isinstance(text, str) else text
        )


class JSONLines:
    """An object a line, each with a type: `webhook`, `plan` or `deleted`."""

    def webhooks(self, found: Iterable[Webhook]) -> None:
        """Write an object for each."""
        for webhook in found:
            write_json(_webhook(webhook))

    def created(self, webhook: Webhook, secret: Secret | None, kept_in: Path | None) -> None:
        """Write the webhook, with `secret` or `secret_file`, whichever there is."""
        shown = secret.reveal() if secret is not None and kept_in is None else None
        kept = None if kept_in is None else str(kept_in)
        write_json({**_webhook(webhook), "secret": shown, "secret_file": kept})

    def changed(self, webhook: Webhook) -> None:
        """Write the webhook."""
        write_json(_webhook(webhook))

    def deleted(self, url_or_uuid: str) -> None:
        """Write what was deleted."""
        write_json({"type": "deleted", "webhook": url_or_uuid})

    def plan(self, plan: SyncPlan) -> None:
        """Write the difference."""
        changes = [
            {
                "uuid": None if change.webhook is None else change.webhook.uuid,
                "added": change.added,
                "removed": change.removed,
            }
            for change in plan.changes
        ]
        unchanged = [webhook.uuid for webhook in plan.unchanged]
        write_json({"type": "plan", "url": plan.url, "changes": changes, "unchanged": unchanged})


def _webhook(webhook: Webhook) -> dict[str, object]:
    without = msgspec.structs.replace(webhook, secret=None)
    fields: dict[str, object] = msgspec.to_builtins(without)
    del fields["secret"]
    return {"type": "webhook", **fields}
