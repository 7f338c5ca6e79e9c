"""The search for what makes a signature fit: bounded, offline, and for people, not for requests.

Each candidate is proven or dropped by the one thing that proves: the MAC. Nothing is guessed.
"""

from __future__ import annotations

import hmac
import os
import time
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hmac import compare_digest
from typing import Final, NamedTuple

from karla_receiver.checks import checked_body, is_finite
from karla_receiver.decoding import parse_event
from karla_receiver.errors import ConfigurationError, PayloadError, Reason, SignatureError
from karla_receiver.explain import bodies, clocks
from karla_receiver.explain.advice import cause
from karla_receiver.explain.causes import Cause, Change, Code, Explanation
from karla_receiver.explain.headers import (
    ALGORITHMS,
    HeaderPairs,
    Reading,
    as_lines,
    as_pairs,
    readings,
)
from karla_receiver.explain.hints import hints
from karla_receiver.explain.secret_forms import KeyForm, forms
from karla_receiver.request import Headers
from karla_receiver.signature import Verifier
from karla_receiver.signature.keys import Key, make_keys

__all__ = ["explain"]

_MAX_HASHES = 60_000
_MAX_CANDIDATE_BYTES = 24 * 1_048_576
_BODY_ALONE = "signed was the body alone, without t"

# Decided by the signature; for all other reasons it does not matter, or fits.
_OF_THE_SIGNATURE: Final = frozenset(
    {
        Reason.MISSING_SIGNATURE,
        Reason.MALFORMED_HEADER,
        Reason.NO_V1,
        Reason.SIGNATURE_MISMATCH,
        Reason.TIMESTAMP_TOO_OLD,
        Reason.TIMESTAMP_IN_FUTURE,
    }
)


def explain(
    body: bytes,
    header: str | bytes | Sequence[str | bytes] | None,
    *secrets: str | bytes,
    now: float | None = None,
    tolerance: float = 300,
    others: Mapping[str, str | bytes] | None = None,
    headers: Headers = (),
    refused: Reason | str | None = None,
    is_whole: bool = True,
) -> Explanation:
    """Say why a delivery is refused, and prove it.

    body: the raw body as it was received; header: as for `Verifier.verify`.
    secrets: as they are configured, blanks and quotes included.
    now: when it was received, in unix seconds; the present time if left out. tolerance: seconds.
    others: secrets of other environments, by a name to call each by.
    headers: all that came with the delivery, as in `Request`.
    refused: the reason that the receiver logged, if that is known: it is where this starts.
    is_whole: False if body is only the beginning of what came, which proves nothing.
    Raises ConfigurationError for a missing or blank secret, a bad tolerance, a bad time or an
    unknown reason; TypeError for a body or header of another type.

    Works offline: in a tenth of a second for a usual delivery, in half a minute for a hostile
    one of a megabyte. Call it from a terminal or a test, and never while answering a request.
    """
    try:
        raw = bytes(checked_body(body))
        moment = _checked_time(now)
        given = {f"secret {number}": secret for number, secret in enumerate(secrets, 1)}
        configured = list(_checked(given).values())
        named = _checked({ascii(name): secret for name, secret in (others or {}).items()})
        recorded = _checked_reason(refused)
        refusal = _refusal(raw, header, configured, moment, tolerance)
        lines, pairs = as_lines(header), as_pairs(headers)
        if recorded is not None and recorded not in _OF_THE_SIGNATURE:
            return _told(recorded, raw, refusal, is_whole)
        if refusal is None:
            return _verifying(recorded)
        if not is_whole:
            return Explanation(
                reason=recorded or refusal.reason,
                causes=_facts(refusal, pairs),
                hints=(_cut(raw),),
            )
        search = _Search(raw, configured, named)
        found = search.run(readings(lines, pairs))
    finally:
        # Error reports with local variables are common: no frame that an error leaves holds one.
        del secrets, others
        given, configured, named = {}, [], {}
    if found is None:
        return Explanation(
            reason=recorded or refusal.reason,
            causes=_facts(refusal, pairs),
            hints=tuple(map(cause, hints(raw, lines, pairs))),
            tried=search.tried,
            is_complete=search.is_complete,
        )
    late = clocks.lateness(found.timestamp, moment, tolerance)
    changes = (*found.changes, *late)
    return Explanation(
        reason=recorded or refusal.reason,
        causes=tuple(map(cause, changes)),
        is_proven=True,
        tried=search.tried,
    )


def _checked_reason(refused: Reason | str | None) -> Reason | None:
    if refused is None or isinstance(refused, Reason):
        return refused
    try:
        return Reason(refused)
    except ValueError:
        raise ConfigurationError(f"refused must be a reason, not {str(refused)[:40]!a}") from None


def _told(
    recorded: Reason, body: bytes, refusal: SignatureError | None, is_whole: bool
) -> Explanation:
    """Explain what the receiver refused for another reason than the signature."""
    evidence = f"the receiver refused it as {recorded}"
    if recorded in {Reason.INVALID_JSON, Reason.INVALID_ENVELOPE}:
        try:
            parse_event(body)
        except PayloadError as error:
            evidence = error.detail
    return Explanation(
        reason=recorded,
        causes=(cause(Change(Code(recorded), evidence)),),
        is_proven=refusal is None,
        hints=() if is_whole or refusal is None else (_cut(body),),
    )


def _verifying(recorded: Reason | None) -> Explanation:
    if recorded is None:
        return Explanation(reason=None)
    evidence = f"it was refused as {recorded}"
    return Explanation(
        reason=recorded, causes=(cause(Change(Code.VERIFIES_HERE, evidence)),), is_proven=True
    )


def _facts(refusal: SignatureError, headers: HeaderPairs) -> tuple[Cause, ...]:
    """Return what is wrong with a header that no repair makes fit."""
    if refusal.reason == Reason.MISSING_SIGNATURE:
        evidence = f"not among {len(headers)} header line(s) that were given"
        return (cause(Change(Code.NO_HEADER, evidence)),)
    if refusal.reason in {Reason.MALFORMED_HEADER, Reason.NO_V1}:
        return (cause(Change(Code(refusal.reason), refusal.detail)),)
    return ()


def _cut(body: bytes) -> Cause:
    return cause(Change(Code.BODY_CUT, f"the first {len(body)} bytes"))


def _checked_time(now: float | None) -> float:
    if now is None:
        return time.time()
    if not is_finite(now):
        raise ConfigurationError("now must be unix seconds: a finite number")
    return float(now)


def _checked(secrets: dict[str, str | bytes]) -> dict[str, bytes]:
    """Return the bytes of each secret that is one but for what a file has around it."""
    checked: dict[str, bytes] = {}
    secret: str | bytes = ""
    try:
        for name, secret in secrets.items():
            bare = _bare(secret) if isinstance(secret, str | bytes) else secret
            try:
                make_keys((bare,))
            except ConfigurationError as error:
                raise ConfigurationError(str(error).replace("secret 1", name, 1)) from None
            checked[name] = secret.encode() if isinstance(secret, str) else secret
        return checked
    finally:
        secret = bare = ""
        del secrets, checked


def _refusal(
    body: bytes,
    header: str | bytes | Sequence[str | bytes] | None,
    secrets: list[bytes],
    now: float,
    tolerance: float,
) -> SignatureError | None:
    # What a file has around a secret makes no verifier: one that nobody knows stands in for it.
    usable = [secret for secret in secrets if _bare(secret) == secret]
    if secrets and not usable:
        usable = [os.urandom(32).hex().encode()]
    try:
        Verifier(*usable, tolerance=tolerance, clock=lambda: now).verify(body, header)
    except SignatureError as error:
        return SignatureError(error.reason, error.detail)  # without the frames that it left
    finally:
        del secrets, usable
    return None


def _bare(secret: str | bytes) -> str | bytes:
    if isinstance(secret, str):
        return secret.strip().removeprefix("\ufeff").strip()
    return secret.strip().removeprefix(BOM_UTF8).strip()


class _Found(NamedTuple):
    """What was undone until the signature fitted, and when it says that it was made."""

    changes: tuple[Change, ...]
    timestamp: int | None


class _Target(NamedTuple):
    """What to hash in front of a body, and the signature that must come of it."""

    prefix: bytes
    reading: Reading
    changes: tuple[Change, ...]
    timestamp: int | None

    def __repr__(self) -> str:
        return f"<_Target {self.reading!r}>"


class _Search:
    """Tries what may have been signed with what may be the key, the likeliest first."""

    def __init__(self, body: bytes, secrets: list[bytes], others: Mapping[str, bytes]) -> None:
        names = [f"secret {n}" for n in range(1, len(secrets) + 1)]
        names = ["the secret"] if len(names) == 1 else names
        by_secret = [list(forms(each, name)) for each, name in zip(secrets, names, strict=True)]
        self._given = [each[0] for each in by_secret]
        self._forms = [form for each in by_secret for form in each[1:]]
        self._forms += _forms_of(others)
        self._secrets = [form for each in secrets for form in _plain_forms(each)]
        self._body = body
        self._bytes_left = _MAX_CANDIDATE_BYTES
        self.tried = 0

    @property
    def is_complete(self) -> bool:
        """Whether everything was tried."""
        return self.tried < _MAX_HASHES and self._bytes_left > 0

    def run(self, readings: Iterable[Reading]) -> _Found | None:
        """Return the first that fits; None if none does, or the bound is reached before."""
        every = [target for reading in readings for target in _targets(reading)]
        targets = [target for target in every if not _is_of_other_algorithm(target)]
        stages = (
            (bodies.unchanged(self._body), (*self._given, *self._forms)),
            (bodies.originals(self._body), self._given),
            (bodies.originals(self._body, with_numbers=False), self._forms),
        )
        for candidates, keys in stages:
            found = self._among(candidates, keys, targets)
            if found is not None:
                return found
        other_messages = [
            each for target in targets if target.prefix for each in _other_messages(target)
        ]
        keys = (*self._given, *self._forms)
        return self._among(
            bodies.framed(self._body), keys, other_messages
        ) or self._of_other_algorithm(filter(_is_of_other_algorithm, every))

    def _of_other_algorithm(self, targets: Iterable[_Target]) -> _Found | None:
        for target in targets:
            (signature,) = target.reading.signatures
            body_alone = Change(Code.OTHER_MESSAGE, _BODY_ALONE)
            messages = {target.prefix: (), b"": () if not target.prefix else (body_alone,)}
            for prefix, changes in messages.items():
                for of_secret, secret in self._secrets:
                    self.tried += 1
                    if _has_mac(secret, prefix + self._body, signature):
                        undone = (*target.changes, *changes, *of_secret)
                        return _Found(undone, target.timestamp)
        return None

    def _among(
        self, candidates: bodies.Candidates, keys: Sequence[KeyForm], targets: Sequence[_Target]
    ) -> _Found | None:
        seen: set[int] = set()
        for changes, body in candidates:
            if hash(body) in seen:
                continue
            seen.add(hash(body))
            self._bytes_left -= len(body)
            for form in keys:
                for target in targets:
                    if not self.is_complete:
                        return None
                    self.tried += 1
                    if _fits(form.key.digest(target.prefix, body), target.reading):
                        return _found(target, changes, form)
        return None


def _found(target: _Target, undone: bodies.Changes, form: KeyForm) -> _Found:
    of_body = (change if isinstance(change, Change) else change() for change in undone)
    of_key = () if form.change is None else (form.change,)
    return _Found((*target.changes, *of_body, *of_key), target.timestamp)


def _forms_of(others: Mapping[str, bytes]) -> Iterator[KeyForm]:
    for name, secret in others.items():
        change = Change(Code.SECRET_OF_ANOTHER_ENVIRONMENT, f"with the secret {name}")
        for form in dict.fromkeys((secret, secret.strip())):
            yield KeyForm(change, Key(form))


def _plain_forms(secret: bytes) -> Iterator[tuple[tuple[Change, ...], bytes]]:
    yield (), secret
    if secret.strip() != secret:
        yield (
            (Change(Code.SECRET_BLANKS, "without the blanks or newline around it"),),
            secret.strip(),
        )


def _is_of_other_algorithm(target: _Target) -> bool:
    return any(len(each) * 2 in ALGORITHMS for each in target.reading.signatures)


def _has_mac(secret: bytes, message: bytes, signature: bytes) -> bool:
    try:
        digest = hmac.digest(secret, message, ALGORITHMS[len(signature) * 2])
    except ValueError:  # of an interpreter that leaves old algorithms out
        return False
    finally:
        del secret
    return compare_digest(digest, signature)


def _targets(reading: Reading) -> Iterator[_Target]:
    text = reading.timestamp
    if not text:
        # Without a time of its own, it can only be of what was sent beside the header.
        change = Change(Code.OTHER_MESSAGE, _BODY_ALONE)
        yield _Target(b"", reading, (*reading.changes, change), None)
        return
    stamp = int(text) if text.isascii() and text.isdigit() else None
    yield _Target(f"{text}.".encode(), reading, reading.changes, stamp)
    for name, per_second in clocks.UNITS:
        if stamp is not None and stamp >= clocks.SMALLEST_SECONDS * per_second:
            change = Change(Code.TIMESTAMP_UNIT, f"t came in {name}, and was signed in seconds")
            seconds = stamp // per_second
            yield _Target(f"{seconds}.".encode(), reading, (*reading.changes, change), seconds)


def _other_messages(target: _Target) -> Iterator[_Target]:
    stamp = target.prefix[:-1]
    for what, prefix in (
        (_BODY_ALONE, b""),
        ("signed was t and the body, with nothing between them", stamp),
        ("signed was t and the body with a colon between them", stamp + b":"),
        ("signed was t and the body with a newline between them", stamp + b"\n"),
        ("signed was t and the body with a comma between them", stamp + b","),
        ("signed was v1, t and the body with colons between them", b"v1:" + stamp + b":"),
        ("signed was a form of the body after t and the dot", target.prefix),
    ):
        change = Change(Code.OTHER_MESSAGE, what)
        yield target._replace(prefix=prefix, changes=(*target.changes, change))


def _fits(digest: bytes, reading: Reading) -> bool:
    if reading.cut and digest.hex().startswith(reading.cut):
        return True
    return any(compare_digest(digest, signature) for signature in reading.signatures)
