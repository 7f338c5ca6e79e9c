"""Karla's responses as values, and what they mean: a result, or the error that describes them.

A response's body can hold a webhook's secret, so no frame that an error leaves has it in a
variable, and an error quotes only the fields of Karla's error bodies, with secrets taken out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, TypeAlias, cast

import msgspec

from karla_receiver.checks import printable, wall_clock
from karla_receiver.registration.calls import Call
from karla_receiver.registration.errors import (
    CredentialsError,
    ErrorBody,
    NotRegisteredError,
    Problem,
    RefusedError,
    RegistrationError,
    UnavailableError,
    UnexpectedAnswerError,
)
from karla_receiver.registration.secret import Secret
from karla_receiver.registration.webhook import Webhook, to_webhook

__all__ = ["APIResponse", "CallResult", "NoResponse", "error_of", "read_webhook", "read_webhooks"]

_TEXT_SHOWN = 300
_PROBLEMS_SHOWN = 20


class APIResponse(msgspec.Struct, frozen=True, kw_only=True):
    """What came back. retry_after_text, location: headers; empty if they did not come."""

    status: int
    body: bytes
    retry_after_text: str = ""
    location: str = ""

    @property
    def is_success(self) -> bool:
        """Whether Karla did what was asked."""
        return 200 <= self.status <= 299

    @property
    def may_be_done(self) -> bool:
        """Whether Karla may have carried out the call, though it did not say so."""
        return self.status >= 500

    def retry_after(self, clock: Callable[[], float] = wall_clock) -> float | None:
        """Return the seconds that Karla asks to wait (RFC 9110, 10.2.3), if it does."""
        text = self.retry_after_text.strip()
        if text.isascii() and text.isdigit():
            return float(text)
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None
        if moment.tzinfo is None:  # "-0000": UTC, and no word about where
            moment = moment.replace(tzinfo=UTC)
        return max(0.0, moment.timestamp() - clock())

    def __repr__(self) -> str:
        # Without the body. A log line shows it when a call is repeated, and so has these words.
        return f"<Answer {self.status}>"


class NoResponse(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing came back.

    may_be_done: whether Karla may have read the request. is_lasting: whether the next attempt
    would fail in the same way, as with a certificate that is not valid.
    """

    detail: str
    may_be_done: bool
    is_lasting: bool = False

    def __repr__(self) -> str:
        return f"<NoAnswer {self.detail}>"


CallResult: TypeAlias = APIResponse | NoResponse


def read_webhooks(call: Call, response: APIResponse) -> list[Webhook]:
    """Read a page. Raises UnexpectedAnswerError if it is not a list of webhooks."""
    page = _webhooks_in(response)
    if isinstance(page, str):
        raise _unexpected(call, response, page)
    return page


def read_webhook(call: Call, response: APIResponse) -> Webhook:
    """Read one webhook. Raises UnexpectedAnswerError if it is none."""
    webhook = _webhook_in(response)
    if isinstance(webhook, str):
        raise _unexpected(call, response, webhook)
    return webhook


# What does not fit is returned as a text, and not raised: see above.
def _webhooks_in(response: APIResponse) -> list[Webhook] | str:
    raw = _json_of(response)
    if not isinstance(raw, list):
        return "not a list in JSON"
    try:
        return [to_webhook(each) for each in cast("list[object]", raw)]
    except msgspec.ValidationError as error:
        return f"a webhook that does not fit: {error}"


def _webhook_in(response: APIResponse) -> Webhook | str:
    try:
        return to_webhook(_json_of(response))
    except msgspec.ValidationError as error:
        return f"no webhook: {error}"


def _json_of(response: APIResponse) -> object:
    try:
        return msgspec.json.decode(response.body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _unexpected(call: Call, response: APIResponse, found: str) -> UnexpectedAnswerError:
    return UnexpectedAnswerError(
        f"expected what Karla documents, and got {found}, in {len(response.body)} bytes",
        call.method,
        call.url,
        response.status,
    )


def error_of(call: Call, result: CallResult, hidden: Iterable[Secret]) -> RegistrationError:
    """Return the error that describes a result that is no success.

    hidden: what Karla's answer might quote and must not be shown.
    """
    if isinstance(result, NoResponse):
        problem = f"no answer: {result.detail}{_advice(call, result)}"
        error: RegistrationError = UnavailableError(problem, call.method, call.url)
    else:
        said = _error_body(call, result, hidden)
        kind, problem = _meaning(call, result)
        error = kind(problem, call.method, call.url, result.status, said)
    if isinstance(error, UnavailableError):
        error.may_be_done = result.may_be_done
        error.retry_after = result.retry_after() if isinstance(result, APIResponse) else None
    return error


def _advice(call: Call, result: CallResult) -> str:
    if call.is_repeatable or not result.may_be_done:
        return ""
    return (
        "; the webhook may have been created all the same: look for it in the list, and delete"
        " it before you try again, since nobody has seen its secret"
    )


def _meaning(call: Call, response: APIResponse) -> tuple[type[RegistrationError], str]:
    status = response.status
    if status == 401:
        return CredentialsError, "Karla does not accept the user name and the API key"
    if status == 403:
        return CredentialsError, "the API key may not manage this shop's webhooks"
    if status == 404 and call.method in ("PATCH", "DELETE"):
        return NotRegisteredError, "there is no webhook of this uuid"
    if status == 404:
        return RefusedError, "Karla finds nothing here: check shop slug and address"
    if status == 429:
        return UnavailableError, f"too many calls{_asked(response)}"
    if 400 <= status <= 499:
        return RefusedError, "Karla refused the request"
    if status >= 500:
        return (
            UnavailableError,
            f"Karla could not answer{_asked(response)}{_advice(call, response)}",
        )
    if 300 <= status <= 399 and response.location:
        target = ascii(response.location[:200])
        return UnexpectedAnswerError, f"redirected to {target}, where no credentials are sent"
    return UnexpectedAnswerError, "this is no status that Karla documents"


def _asked(response: APIResponse) -> str:
    return f", retry after {text[:40]!a}" if (text := response.retry_after_text) else ""


def _error_body(call: Call, response: APIResponse, hidden: Iterable[Secret]) -> ErrorBody:
    raw = _json_of(response)
    if isinstance(raw, dict):
        all_hidden = [*hidden, *([call.secret] if call.secret else [])]
        return _documented(cast("dict[str, Any]", raw), all_hidden)
    if call.secret:
        return ErrorBody()  # who knows how an unknown form would write it
    return ErrorBody(text=_shown(response.body.decode(errors="replace"), [*hidden]))


def _documented(raw: dict[str, Any], hidden: list[Secret]) -> ErrorBody:
    """Read Karla's error body, or FastAPI's; what quotes the input (`input`) is left out."""
    detail: object = raw.get("detail")
    entries = _listed(detail) or _listed(raw.get("errors"))
    return ErrorBody(
        type=_shown(raw.get("type"), hidden),
        key=_shown(raw.get("key"), hidden),
        message=_shown(raw.get("message") or detail, hidden),
        problems=tuple(
            _problem(cast("dict[str, Any]", entry), hidden)
            for entry in entries[:_PROBLEMS_SHOWN]
            if isinstance(entry, dict)
        ),
    )


def _problem(entry: dict[str, Any], hidden: list[Secret]) -> Problem:
    place: object = entry.get("loc")
    path = ".".join(map(str, _listed(place))) or place or entry.get("field")
    return Problem(
        field=_shown(path, hidden),
        message=_shown(entry.get("msg"), hidden),
        type=_shown(entry.get("type"), hidden),
    )


def _listed(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _shown(text: object, hidden: list[Secret]) -> str:
    """Return a text without secrets, fit for a line of a terminal or a log, and short."""
    if not isinstance(text, str):
        return ""
    for secret in hidden:
        text = text.replace(secret.reveal(), "<secret>")
    line = " ".join(text.split())
    return printable(line[:_TEXT_SHOWN])
