"""The answers: one for success and one for each reason, made once."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

import msgspec

from karla_receiver.errors import STATUS, Reason

__all__ = ["REFUSALS", "SUCCESS", "Response", "retry_later"]

_RETRY_AFTER_SECONDS = 5
_EXTRA_HEADERS: Final[Mapping[Reason, tuple[tuple[str, str], ...]]] = {
    Reason.METHOD_NOT_ALLOWED: (("allow", "POST"),),
    Reason.IN_PROGRESS: (("retry-after", str(_RETRY_AFTER_SECONDS)),),
    Reason.RETRY_LATER: (("retry-after", str(_RETRY_AFTER_SECONDS)),),
    Reason.UNAVAILABLE: (("retry-after", str(_RETRY_AFTER_SECONDS)),),
}


class Response(msgspec.Struct, frozen=True):
    """What to answer.

    headers: pairs of lower-case name and value, Content-Type and Content-Length included.
    reason: why it is a refusal, for logs and metrics; None for success. For a 401 it is not
    in the body.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    reason: Reason | None = None

    @property
    def phrase(self) -> str:
        """The status's standard phrase, as in `Bad Request`."""
        return HTTPStatus(self.status).phrase

    def without_body(self) -> Response:
        """Return the same answer for HEAD: all headers, no body (RFC 9110, 9.3.2)."""
        return msgspec.structs.replace(self, body=b"")


def _response(
    status: int,
    content_type: str,
    content: Mapping[str, object],
    reason: Reason | None = None,
) -> Response:
    body = msgspec.json.encode(content)
    headers = (("content-type", content_type), ("content-length", str(len(body))))
    extra = () if reason is None else _EXTRA_HEADERS.get(reason, ())
    return Response(status, headers + extra, body, reason)


def _refusal(reason: Reason, status: int) -> Response:
    # RFC 9457; without a type, the title is the status's phrase.
    problem: dict[str, object] = {"title": HTTPStatus(status).phrase, "status": status}
    if status != HTTPStatus.UNAUTHORIZED:
        # A stranger who tries signatures must not learn how far one came.
        problem["reason"] = reason
    return _response(status, "application/problem+json", problem, reason)


# Karla looks at the status; the body is the one that its own receiver answers with.
SUCCESS: Final = _response(200, "application/json", {"status": "success"})

REFUSALS: Final[Mapping[Reason, Response]] = MappingProxyType(
    {reason: _refusal(reason, status) for reason, status in STATUS.items() if status is not None}
)


def retry_later(seconds: int) -> Response:
    """Return the refusal for a handler that asked for a later try, in so many seconds."""
    usual = REFUSALS[Reason.RETRY_LATER]
    headers = [
        ("retry-after", str(seconds)) if name == "retry-after" else (name, value)
        for name, value in usual.headers
    ]
    return msgspec.structs.replace(usual, headers=tuple(headers))
