"""The command `send`: a signed delivery, or a bad one, to an endpoint."""

from __future__ import annotations

import json
import time
from enum import StrEnum, unique
from typing import Annotated

import typer

from karla_receiver import ConfigurationError
from karla_receiver import sign as signature_of
from karla_receiver.cli.addresses import DEFAULT_URL, checked_url
from karla_receiver.cli.answers import report
from karla_receiver.cli.content import changed, content_of
from karla_receiver.cli.deliveries import Delivery, bad_deliveries
from karla_receiver.cli.secret_input import SecretFile, ask_or_refuse
from karla_receiver.cli.sending import AllowRemote, Concurrency, To, deliver_all

__all__ = ["Bad", "send"]

_OVERSIZED_BYTES = 1_048_577  # a byte more than a receiver takes by default


@unique
class Bad(StrEnum):
    """What can be made wrong with a delivery."""

    FORGED = "forged"
    ALTERED = "altered"
    RESERIALISED = "reserialised"
    STALE = "stale"
    REDATED = "redated"
    FROM_THE_FUTURE = "from_the_future"
    UNSIGNED = "unsigned"
    MALFORMED_HEADER = "malformed_header"
    ONLY_V0 = "only_v0"
    OVERSIZED = "oversized"
    GET = "get"
    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    UNGROUPED = "ungrouped"


def send(
    source: Annotated[
        str,
        typer.Argument(metavar="SAMPLE|FILE|-", help="What to send; see `karla-receiver samples`."),
    ] = "shipment_delivered",
    to: To = DEFAULT_URL,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="PATH=VALUE",
            help="Set a value in the body before it is signed; may be repeated.",
            show_default=False,
        ),
    ] = None,
    bad: Annotated[
        Bad | None, typer.Option(help="Make this wrong; then a refusal is right.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=10_000, help="How many to send.")] = 1,
    concurrency: Concurrency = 1,
    secret_file: SecretFile = None,
    allow_remote: AllowRemote = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write JSON, an object a line, for programs.")
    ] = False,
) -> None:
    """Sign a delivery as Karla does, and send it.

    Without --to it goes to where `karla-receiver listen` listens. The secret
    comes from KARLA_WEBHOOK_SECRET, a file or a prompt.

    Examples:

      karla-receiver send
      karla-receiver send claim_created --to http://127.0.0.1:8000/karla
      karla-receiver send --set context.order.order_number=NT-1 --count 100
      karla-receiver send --bad stale
      karla-receiver send - < body.json

    Exit status: 0 if all were answered rightly (200; a bad one with a
    refusal), 1 if not, 2 for wrong usage, 130 if interrupted.
    """
    url = checked_url(to, allow_remote=allow_remote)
    # Before a secret is asked for: whoever mistypes a name need not give it twice.
    content = content_of(source)
    secret = ask_or_refuse(secret_file)[0]
    body = changed(content, settings or ())

    def make() -> Delivery:
        now = int(time.time())
        if bad is None:
            return Delivery(
                name=source,
                sent=source,
                body=body,
                signature=signature_of(body, secret, timestamp=now),
                reason=None,
            )
        return _bad(bad, body, secret, now)

    make()  # what cannot be made is told before anything is sent
    started = time.perf_counter()
    answers = deliver_all([make] * count, url, concurrency=concurrency, as_json=as_json)
    is_right = report(answers, seconds=time.perf_counter() - started, as_json=as_json)
    raise typer.Exit(0 if is_right else 1)


def _bad(kind: Bad, body: bytes, secret: str, now: int) -> Delivery:
    try:
        is_event = isinstance(json.loads(body), dict)
    except (ValueError, RecursionError):
        is_event = False
    if not is_event:
        raise ConfigurationError("--bad needs a body that is a JSON object, and this one is not")
    made = bad_deliveries(body, secret, now=now, oversized_bytes=_OVERSIZED_BYTES)
    return next(delivery for delivery in made if delivery.name == kind)
