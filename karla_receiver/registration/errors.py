"""What can go wrong with Karla's webhook API: whose fault it is, and what Karla said about it.

No error holds the API key or a webhook's secret: not in its text, its attributes or the variables
of the frames that it passes through.
"""

from __future__ import annotations

import msgspec

from karla_receiver.errors import KarlaReceiverError

__all__ = [
    "AmbiguousURLError",
    "CredentialsError",
    "ErrorBody",
    "NotRegisteredError",
    "Problem",
    "RefusedError",
    "RegistrationError",
    "UnavailableError",
    "UnexpectedAnswerError",
]


class Problem(msgspec.Struct, frozen=True):
    """One thing that Karla found wrong with a request; field as in `body.url`, or empty."""

    field: str
    message: str
    type: str = ""

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """What Karla said about a failure. What it did not say is empty.

    type: `invalid_request_error`, `api_error`, or another that Karla may add.
    text: the start of a body that is not one of the forms that Karla documents.
    """

    type: str = ""
    key: str = ""
    message: str = ""
    problems: tuple[Problem, ...] = ()
    text: str = ""

    def __str__(self) -> str:
        told = [part for part in (self.key, self.message) if part]
        return "; ".join([": ".join(told), *map(str, self.problems), self.text]).strip("; ")


class RegistrationError(KarlaReceiverError):
    """A call of Karla's webhook API failed. The parent of the kinds below.

    problem: what is wrong and what to do; method and url: of the request.
    status: of Karla's answer; None if there was none.
    answer: what Karla said; None if it said nothing.
    """

    def __init__(
        self,
        problem: str,
        method: str,
        url: str,
        status: int | None = None,
        answer: ErrorBody | None = None,
    ) -> None:
        super().__init__(problem, method, url, status, answer)
        self.problem: str = problem
        self.method: str = method
        self.url: str = url
        self.status: int | None = status
        self.answer: ErrorBody | None = answer

    def __str__(self) -> str:
        answered = "" if self.status is None else f" answered {self.status}"
        said = f" (Karla: {self.answer})" if self.answer is not None and str(self.answer) else ""
        return f"{self.problem}: {self.method} {self.url}{answered}{said}"


class CredentialsError(RegistrationError):
    """Karla does not know the API key, or the key may not do this: 401 or 403."""


class NotRegisteredError(RegistrationError):
    """There is no such webhook."""


class AmbiguousURLError(RegistrationError):
    """Several webhooks have this URL: name the one that is meant by its uuid."""


class RefusedError(RegistrationError):
    """Karla refused the request as it is: any other status from 400 to 499."""


class UnavailableError(RegistrationError):
    """Karla could not be reached, did not answer in time, or answered 429 or 500 and above.

    All retries that are safe were made. retry_after: the seconds that Karla asked to wait, if so.
    may_be_done: whether Karla may have carried out the call all the same.
    """

    retry_after: float | None = None
    may_be_done: bool = False


class UnexpectedAnswerError(RegistrationError):
    """What came back is no answer of Karla's API: a redirect, or not the documented JSON."""
