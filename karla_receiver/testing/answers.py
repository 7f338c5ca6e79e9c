"""What came back from an endpoint, and what may be asserted about it."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Final

from karla_receiver.errors import STATUS, Reason
from karla_receiver.observing.logs import logger
from karla_receiver.testing.json_values import is_object

__all__ = ["Answer", "assert_acknowledged", "assert_refused", "logged_reasons", "refusals"]

# The refusals that are documented, and those that servers give by themselves (RFC 9110, 6585).
# 409 refuses nothing: the same delivery is being handled.
_REFUSALS: Final = frozenset(
    {status for status in STATUS.values() if status is not None and 400 <= status < 500}
    - {STATUS[Reason.IN_PROGRESS], STATUS[Reason.METHOD_NOT_ALLOWED]}
    | {411, 414, 431}
)
# What refuses a method: to a POST they say that nothing is there that takes a delivery.
_METHOD_REFUSALS: Final = frozenset({404, 405, 501})


def refusals(method: str) -> frozenset[int]:
    """Return the statuses by which an endpoint refuses a request of a method.

    Not among them: success, redirects, 404 to a POST, 409 and 429, which ask for patience, and
    what fails, which may fail for a genuine delivery too.
    """
    return _REFUSALS if method == "POST" else _REFUSALS | _METHOD_REFUSALS


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An endpoint's answer.

    headers: pairs of name and value, as sent.
    reason: why it was refused, as the endpoint's log tells it: only for endpoints in this process
    that are made with this library; None for the others, and if nothing was refused.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    reason: str | None = None

    def header(self, name: str) -> str | None:
        """Return the first value of a header, named in either case; None if there is none."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    @property
    def text(self) -> str:
        """The body as text; what is not UTF-8 in it is replaced."""
        return self.body.decode(errors="replace")


@contextlib.contextmanager
def logged_reasons() -> Generator[list[str]]:
    """Collect the reasons that receivers in this process log meanwhile."""
    reasons: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            reason = getattr(record, "reason", None)
            if reason is not None:
                reasons.append(reason)

    collector = Collector()
    level = logger.level
    logger.addHandler(collector)
    logger.setLevel(logging.DEBUG)
    try:
        yield reasons
    finally:
        logger.removeHandler(collector)
        logger.setLevel(level)


def assert_acknowledged(response: Any) -> None:
    """Assert that an endpoint acknowledged a delivery: with exactly 200, as Karla documents.

    response: an `Answer`, or what any HTTP or test client returns: its status is read from
    `status_code` or `status`.
    """
    __tracebackhide__ = True  # pytest shows the test's line instead of this one
    status = _status_of(response)
    if status != 200:
        hint = ""
        if _reason_of(response) == Reason.SIGNATURE_MISMATCH:
            hint = "; is the fixture karla_secret the secret of this app?"
        raise AssertionError(f"not acknowledged: answered {_told(response)}, expected 200{hint}")


def assert_refused(response: Any, reason: Reason | str | None = None) -> None:
    """Assert that an endpoint refused a delivery.

    response: as in `assert_acknowledged`.
    reason: asserts the reason too, and its documented status. Where the answer has no reason in
    it, the endpoint's log must tell (see `Answer`): no 401 ever says why, so for a reason that
    is answered with 401 anything but an `Answer` from this process is a ValueError.
    Without a reason: asserts 400, 401, 403, 405, 411, 413, 414 or 431. Other statuses do not say
    that a delivery was refused: 404 comes of a wrong path, 429 of too many requests, and 500 and
    above of a failure, for a genuine delivery too.
    Raises ValueError for an unknown reason too.
    """
    __tracebackhide__ = True
    status = _status_of(response)
    if reason is None:
        # The request is not at hand: 405 is right if its method was at fault.
        expected_ones = refusals("POST") | {405}
        if status not in expected_ones:
            listed = ", ".join(map(str, sorted(expected_ones)))
            raise AssertionError(
                f"not refused: answered {_told(response)}, expected a refusal: {listed}"
            )
        return
    expected = _known_reason(reason)
    if status != STATUS[expected]:
        raise AssertionError(
            f"not refused as {expected}: answered {_told(response)}, expected {STATUS[expected]}"
        )
    actual = _reason_of(response)
    if actual is None:
        raise ValueError(
            f"whether the reason is {expected} cannot be seen: no 401 tells it, and other"
            " receivers have no reasons. Leave the reason out, or deliver to a receiver of this"
            " library in this process, whose log tells it"
        )
    if actual != expected:
        raise AssertionError(f"refused as {actual}, expected {expected}")


def _known_reason(reason: Reason | str) -> Reason:
    known = {str(known): known for known in Reason}
    if reason not in known:
        raise ValueError(f"{reason!a} is no reason: there are {', '.join(known)}")
    return known[reason]


def _status_of(response: Any) -> int:
    for name in ("status_code", "status"):
        status = getattr(response, name, None)
        if isinstance(status, int):
            return status
    raise TypeError(f"expected a response with a status, not {type(response).__name__}")


def _reason_of(response: Any) -> str | None:
    logged = getattr(response, "reason", None)
    if logged in list(Reason):
        return str(logged)
    try:
        problem: object = json.loads(_body_of(response))
    except ValueError:
        return None
    return str(problem["reason"]) if is_object(problem) and "reason" in problem else None


def _body_of(response: Any) -> bytes:
    # `content`: httpx, requests and Django; `data`: Flask; `body`: ours and Starlette's.
    bodies = (getattr(response, name, None) for name in ("content", "data", "body"))
    return next((body for body in bodies if isinstance(body, bytes)), b"")


def _told(response: Any) -> str:
    reason = _reason_of(response)
    return f"{_status_of(response)}{'' if reason is None else f' ({reason})'}"
