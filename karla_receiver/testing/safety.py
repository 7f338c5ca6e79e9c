"""Throws the table of attacks at an endpoint, and reports every answer that is not right.

The endpoint is seen from outside only: what it answers, what it raises (in this process), and
whether it compares in constant time (in this process). Whether a handler ran is not seen: a
delivery counts as accepted if it is answered with 2xx.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlsplit

from karla_receiver.decoding import parse_event
from karla_receiver.errors import STATUS, ConfigurationError, PayloadError, Reason
from karla_receiver.samples import read
from karla_receiver.signature import sign
from karla_receiver.signature.keys import make_keys
from karla_receiver.testing.answers import Answer, refusals
from karla_receiver.testing.attacks import Case, Setting, iter_cases
from karla_receiver.testing.clients import (
    Client,
    NoAnswerError,
    Target,
    UnsendableError,
    client_for,
)
from karla_receiver.testing.clock import SettableClock
from karla_receiver.testing.comparing import constant_time_comparisons
from karla_receiver.testing.deliveries import BadKind, Delivery, bad_delivery, signed_delivery
from karla_receiver.testing.findings import Finding, Kind, SafetyReport
from karla_receiver.views.paths import DEFAULT_PATH

__all__ = ["assert_endpoint_is_safe", "check_endpoint"]

_UNPROVEN: Final = frozenset({400, 401, 403})
_UNSERVED: Final = frozenset({404, 405})
_UNHANDLED: Final = frozenset({STATUS[Reason.HANDLER_ERROR], STATUS[Reason.RETRY_LATER]})
# Seconds that the endpoint's clock may be off ours, and a delivery be under way.
_MARGIN: Final = 30
# Bytes from which a server may refuse, or hang up on, what is large.
_LARGE_BODY: Final = 65_536
_LARGE_HEADER: Final = 4096
_LEAST_SECRET: Final = 16

_GENUINE: Final = ("GENUINE", "a genuine delivery, as Karla sends it")
_STILL: Final = ("STILL", "a genuine delivery, after all the others")
_COMPARE: Final = ("COMPARE", "a forged delivery, while comparisons are watched")


def assert_endpoint_is_safe(
    target: Target,
    *,
    secret: str | bytes,
    path: str | None = None,
    body: bytes | None = None,
    tolerance: float = 300,
    clock: SettableClock | None = None,
    skip: Collection[str] = (),
    timeout: float = 30,
) -> SafetyReport:
    """Assert that an endpoint accepts what is genuine, refuses what is not, and never fails.

    The endpoint's handlers do run, for every genuine delivery among the attacks: give it a test's
    database and a mail system that sends nothing, and never the URL of a live shop.

    target: an ASGI or WSGI app, a Receiver, the endpoint's URL, or a function `send(delivery)` that
    returns the endpoint's `Answer`; see `client_for`.
    secret: the one that the endpoint has; if it has several, one of them.
    path: of the endpoint in an app; "/webhooks/karla" if left out.
    body: of an event that the endpoint can handle; the sample `shipment_delivered` if left out.
    tolerance: the endpoint's, in seconds; at least 60. Its clock is taken to show the present
    time, within 30 seconds, so what lies closer to an edge of the window is left out.
    clock: the endpoint's clock, if it is a `SettableClock`: it is set for each delivery, and the
    edges of the window are tried to the second.
    skip: ids of cases to leave out, as the report shows them.
    timeout: seconds to wait for an answer.
    Returns what was sent and left out. Raises AssertionError with a table of the findings if
    there are any; ConfigurationError for a target or argument that cannot be used.
    """
    __tracebackhide__ = True  # pytest shows the test's line and the table, and no secret
    report = check_endpoint(
        target,
        secret=secret,
        path=path,
        body=body,
        tolerance=tolerance,
        clock=clock,
        skip=skip,
        timeout=timeout,
    )
    if report.findings:
        raise AssertionError(str(report))
    return report


def check_endpoint(
    target: Target,
    *,
    secret: str | bytes,
    path: str | None = None,
    body: bytes | None = None,
    tolerance: float = 300,
    clock: SettableClock | None = None,
    skip: Collection[str] = (),
    timeout: float = 30,
) -> SafetyReport:
    """Same as `assert_endpoint_is_safe`, but return the findings and raise nothing for them."""
    __tracebackhide__ = True
    make_keys((secret,))
    if tolerance < 2 * _MARGIN:
        raise ConfigurationError(f"tolerance must be at least {2 * _MARGIN} seconds to be tested")
    started = time.perf_counter()
    check = _Check(
        secret=secret,
        body=read("shipment_delivered") if body is None else body,
        tolerance=tolerance,
        clock=clock,
        skip=skip,
        is_remote=isinstance(target, str),
        path=_path_of(target, path),
    )

    def connect() -> Client:
        return client_for(target, path=path, timeout=timeout)

    findings = list(check.run(connect))
    unknown = set(skip) - check.ids
    if unknown:
        raise ConfigurationError(f"no case is called {', '.join(map(ascii, sorted(unknown)))}")
    return SafetyReport(
        findings=tuple(findings),
        sent=check.sent,
        left_out=tuple(check.left_out),
        unhandled=tuple(check.unhandled),
        seconds=time.perf_counter() - started,
    )


def _path_of(target: Target, path: str | None) -> str:
    if isinstance(target, str):
        return urlsplit(target).path or "/"
    return DEFAULT_PATH if path is None else path


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reaction:
    """How the endpoint reacts to one delivery.

    status: None if there was no answer; told: for people. is_hung_up: the connection was closed
    without an answer.
    """

    status: int | None
    told: str
    answer: Answer | None = None
    is_hung_up: bool = False


def _kind_of(status: int | None, *, is_accepting: bool) -> Kind:
    if status is None or status >= 500:
        return Kind.FAILED
    return Kind.ACCEPTED if 200 <= status < 300 and not is_accepting else Kind.UNEXPECTED


def _is_malformed(delivery: Delivery) -> bool:
    """Whether a header has a control character, which no server has to let through.

    RFC 9110, 5.5: of the control characters only the tab may stand in a field's value.
    """
    return any(
        character == "\x7f" or (character < " " and character != "\t")
        for _, value in delivery.headers
        for character in value
    )


def _rewritten(body: bytes) -> Iterator[bytes]:
    """Return what a receiver may verify that parses a body and writes it anew."""
    try:
        event = json.loads(body)
    except ValueError:
        return
    for separators in ((", ", ": "), (",", ":")):
        for is_ascii in (True, False):
            written = json.dumps(event, separators=separators, ensure_ascii=is_ascii).encode()
            if written != body:
                yield written


class _Check:
    """One run over the table, against one endpoint."""

    def __init__(
        self,
        *,
        secret: str | bytes,
        body: bytes,
        tolerance: float,
        clock: SettableClock | None,
        skip: Collection[str],
        is_remote: bool,
        path: str,
    ) -> None:
        self._secret = secret
        self._body = body
        self._tolerance = tolerance
        self._clock = clock
        self._skip = frozenset(skip)
        self._is_remote = is_remote
        self._path = path
        self._forged_status: int | None = None
        self.ids = {_GENUINE[0], _STILL[0], _COMPARE[0]}
        self.sent = 0
        self.left_out: list[str] = []
        self.unhandled: list[str] = []

    def run(self, connect: Callable[[], Client]) -> Iterator[Finding]:
        """Send everything, and yield what is wrong."""
        with connect() as client:
            refused = self._genuine(client, _GENUINE)
            if refused is not None:
                # Where nothing is accepted, refusing the rest proves nothing.
                yield refused
                return
            self._forged_status = self._send(client, self._bad(BadKind.FORGED)).status
            for case in iter_cases("core", "adapter", setting=self._setting):
                yield from self._case(client, case)
            still = self._genuine(client, _STILL)
            if still is not None:
                yield still
        if _COMPARE[0] in self._skip:
            self.left_out.append(f"{' '.join(_COMPARE)}: skipped")
        elif not self._is_remote:
            with constant_time_comparisons() as seen, connect() as client:
                self._send(client, self._bad(BadKind.FORGED))
            if not seen:
                yield Finding(
                    id=_COMPARE[0],
                    title=_COMPARE[1],
                    kind=Kind.TIMING,
                    answered="no call of compare_digest",
                    expected="hmac.compare_digest",
                    why="== tells by its time how much of a guess was right",
                )

    # --- what is sent ----------------------------------------------------------------------------

    def _now(self) -> int:
        return int(time.time() if self._clock is None else self._clock())

    def _setting(self) -> Setting:
        now = self._now() if self._clock is None else None
        return Setting(secret=self._secret, now=now, body=self._body)

    def _bad(self, kind: BadKind) -> Delivery:
        return bad_delivery(kind, self._body, self._secret, now=self._now())

    def _send(self, client: Client, delivery: Delivery) -> _Reaction:
        self.sent += 1
        try:
            answer = client.send(delivery)
        except UnsendableError:
            self.sent -= 1
            raise
        except NoAnswerError as error:
            is_hung_up = isinstance(error.__cause__, ConnectionError)
            return _Reaction(status=None, told=f"nothing: {error}", is_hung_up=is_hung_up)
        except Exception as error:  # noqa: BLE001 - a crash of the endpoint is a finding
            # Its text may quote what was sent, so only its kind is told.
            return _Reaction(status=500, told=f"raised {type(error).__name__}")
        return _Reaction(status=answer.status, told=str(answer.status), answer=answer)

    # --- what is right ---------------------------------------------------------------------------

    def _genuine(self, client: Client, case: tuple[str, str]) -> Finding | None:
        reaction = self._send_signed(client, self._body)
        if reaction.status == 200:
            return None
        return Finding(
            id=case[0],
            title=case[1],
            kind=_kind_of(reaction.status, is_accepting=True),
            answered=reaction.told,
            expected="200",
            why=self._cause(client, reaction.status),
        )

    def _send_signed(self, client: Client, body: bytes) -> _Reaction:
        return self._send(client, signed_delivery(body, self._secret, timestamp=self._now()))

    def _cause(self, client: Client, status: int | None) -> str:
        """Return the likely reason why what is genuine was not answered 200."""
        if status in _UNSERVED:
            hint = "is the URL right?" if self._is_remote else "give path= or karla_path"
            return f"nothing is served at {self._path!a}: {hint}"
        if status not in _UNPROVEN:
            return "Karla takes nothing else for an acknowledgement"
        if any(self._send_signed(client, body).status == 200 for body in _rewritten(self._body)):
            return (
                "it verifies another body than the one received: it accepts this event when it is"
                " signed as Python's json writes it"
            )
        return (
            f"is {'secret=' if self._is_remote else 'secret= or karla_secret'} the app's secret?"
            " If it is, its clock is off, or it verifies something else than the raw body"
        )

    def _case(self, client: Client, case: Case) -> Iterator[Finding]:
        obstacle = self._obstacle(case)
        if obstacle is None:
            self.ids.add(case.id)
        if obstacle is not None or case.id in self._skip:
            self.left_out.append(f"{case}: {obstacle or 'skipped'}")
            return
        if self._clock is not None:
            self._clock.set(case.now)
        delivery = case.delivery
        if not any(name == "Content-Type" for name, _ in delivery.headers):
            content_type = ("Content-Type", "application/json")
            delivery = replace(delivery, headers=(*delivery.headers, content_type))
        try:
            reaction = self._send(client, delivery)
        except UnsendableError:
            self.left_out.append(f"{case}: it cannot be put on the wire")
            return
        if reaction.is_hung_up and self._is_refused_by_server(client, delivery):
            return
        problem = self._problem(case, reaction)
        if problem is None and case.expect["accept"] and reaction.status in _UNHANDLED:
            self.unhandled.append(str(case))
        if problem is not None:
            kind, expected, why = problem
            yield Finding(
                id=case.id,
                title=case.title,
                kind=kind,
                answered=f"{reaction.told} {'accepted' if reaction.status == 200 else ''}".strip(),
                expected=expected,
                why=why,
            )

    def _is_refused_by_server(self, client: Client, delivery: Delivery) -> bool:
        """Whether a server that hung up did so for the request, and is still there.

        Under load it may close before its answer to a malformed request was read.
        """
        return _is_malformed(delivery) and self._send_signed(client, self._body).status == 200

    def _obstacle(self, case: Case) -> str | None:
        """Return why a case cannot be tried on this endpoint; None if it can."""
        if not case.is_for_one_secret:
            return "it is for a receiver of other secrets"
        if case.http.keys() - {"method", "headers", "header_name", "query"}:
            return "it needs a hand on the server or the handler"
        if self._is_remote and any(line != line.strip() for line in case.header_lines):
            return "a server may trim a header before the endpoint sees it"
        if case.skew is None or self._clock is not None:
            return None
        is_early = case.skew < 0
        edge = abs(abs(case.skew) - self._tolerance)
        is_for_its_time = case.expect["reason"] in {
            Reason.TIMESTAMP_TOO_OLD,
            Reason.TIMESTAMP_IN_FUTURE,
        }
        is_within = abs(case.skew) <= self._tolerance
        is_decided = edge > _MARGIN and is_within != is_for_its_time
        if (is_for_its_time or case.expect["accept"]) and not is_decided:
            return f"it is too close to the {'later' if is_early else 'earlier'} edge of the window"
        return None

    def _problem(self, case: Case, reaction: _Reaction) -> tuple[Kind, str, str] | None:
        """Return what must be answered and why, if the reaction is not right."""
        if self._shows_secret(case, reaction):
            return Kind.LEAKED, "no secret, no signature", "whoever sees the answer can sign"
        allowed = self._accepting(case) if case.expect["accept"] else self._refusing(case)
        if reaction.status not in allowed:
            is_accepting: bool = case.expect["accept"]
            expected = f"{case.expect['status']}{'' if is_accepting else ' or like it'}"
            return _kind_of(reaction.status, is_accepting=is_accepting), expected, case.why
        if self._is_unreadable_forgery(case) and reaction.status != self._forged_status:
            return (
                Kind.UNEXPECTED,
                f"{self._forged_status}, as for any forgery",
                "the body was read before it was verified",
            )
        return None

    def _accepting(self, case: Case) -> frozenset[int | None]:
        allowed: set[int | None] = {200}
        if not case.is_plain:
            # Karla does not write the header like this: to refuse it costs nothing.
            allowed |= _UNPROVEN
        if "headers" in case.http:
            # Nor are these headers Karla's, and 415 is for the application to ask for.
            allowed |= _UNPROVEN | {415}
        if len(case.body) > _LARGE_BODY:
            allowed.add(STATUS[Reason.BODY_TOO_LARGE])
        if case.body != self._body:
            # A handler may fail for an event that lacks what it needs, and says so with 500.
            allowed |= _UNHANDLED
        return frozenset(allowed)

    def _refusing(self, case: Case) -> frozenset[int | None]:
        method = case.delivery.method
        allowed: set[int | None] = {*refusals(method), *case.statuses}
        if method == "OPTIONS":
            allowed |= {200, 204}  # frameworks answer it by themselves
        is_large = len(case.body) > _LARGE_BODY or sum(map(len, case.header_lines)) > _LARGE_HEADER
        if self._is_remote and is_large:
            allowed.add(None)  # hung up on
        return frozenset(allowed)

    def _is_unreadable_forgery(self, case: Case) -> bool:
        """Whether it is a forgery, in a well-formed header, of what cannot be read as an event."""
        if case.expect["reason"] != Reason.SIGNATURE_MISMATCH or case.http or not case.body:
            return False
        try:
            parse_event(case.body)
        except PayloadError:
            return True
        return False

    def _shows_secret(self, case: Case, reaction: _Reaction) -> bool:
        answer = reaction.answer
        if answer is None:
            return False
        shown = answer.body + "".join(value for _, value in answer.headers).encode()
        secret = self._secret.encode() if isinstance(self._secret, str) else self._secret
        # A text shorter than Karla's secrets are may stand in an answer by chance.
        if len(secret) >= _LEAST_SECRET and secret in shown:
            return True
        if case.expect["reason"] != Reason.SIGNATURE_MISMATCH:
            return False
        timestamps = {line.partition("t=")[2].partition(",")[0] for line in case.header_lines}
        expected = (
            sign(case.body, self._secret, timestamp=int(text)).partition("v1=")[2]
            for text in timestamps
            if text.isdigit()
        )
        return any(signature.encode() in shown for signature in expected)
