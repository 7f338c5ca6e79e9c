"""The search for what makes a signature fit: bounded, offline, and for people, not for requests.

Each candidate is proven or dropped by the one thing that proves: the MAC. Nothing is guessed.
"""

from __future__ import annotations

import os
import time
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hmac import compare_digest
from typing import NamedTuple

from karla_receiver.body import checked_body
from karla_receiver.errors import ConfigurationError, Reason, SignatureError
from karla_receiver.explain import bodies, clocks
from karla_receiver.explain.advice import cause
from karla_receiver.explain.causes import Change, Code, Explanation
from karla_receiver.explain.headers import Reading, as_lines, as_pairs, readings
from karla_receiver.explain.hints import hints
from karla_receiver.explain.secret_forms import KeyForm, forms
from karla_receiver.keys import Key, make_keys
from karla_receiver.options import is_finite
from karla_receiver.request import Headers
from karla_receiver.signature import Verifier

__all__ = ["explain"]

_MAX_HASHES = 60_000
_MAX_CANDIDATE_BYTES = 24 * 1_048_576


def explain(
    body: bytes,
    header: str | bytes | Sequence[str | bytes] | None,
    *secrets: str | bytes,
    now: float | None = None,
    tolerance: float = 300,
    others: Mapping[str, str | bytes] | None = None,
    headers: Headers = (),
) -> Explanation:
    """Say why a delivery is refused, and prove it.

    body: the raw body as it was received; header: as for `Verifier.verify`.
    secrets: as they are configured, blanks and quotes included.
    now: when it was received, in unix seconds; the present time if left out. tolerance: seconds.
    others: secrets of other environments, by a name to call each by.
    headers: all that came with the delivery, as in `Request`.
    Raises ConfigurationError for a missing or blank secret, a bad tolerance or a bad time;
    TypeError for a body or header of another type.

    Works offline: in a tenth of a second for a usual delivery, in half a minute for a hostile
    one of a megabyte. Call it from a terminal or a test, and never while answering a request.
    """
    try:
        raw = bytes(checked_body(body))
        moment = _checked_time(now)
        given = {f"secret {number}": secret for number, secret in enumerate(secrets, 1)}
        configured = list(_checked(given).values())
        named = _checked({ascii(name): secret for name, secret in (others or {}).items()})
        refusal = _refusal(raw, header, configured, moment, tolerance)
        if refusal is None:
            return Explanation(reason=None)
        lines, pairs = as_lines(header), as_pairs(headers)
        search = _Search(raw, configured, named)
        found = search.run(readings(lines, pairs))
    finally:
        # Error reports with local variables are common: no frame that an error leaves holds one.
        del secrets, others
        given, configured, named = {}, [], {}
    if found is None:
        return Explanation(
            reason=refusal,
            hints=tuple(map(cause, hints(raw, lines, pairs))),
            tried=search.tried,
            is_complete=search.is_complete,
        )
    late = clocks.lateness(found.timestamp, moment, tolerance)
    changes = (*found.changes, *late)
    return Explanation(reason=refusal, causes=tuple(map(cause, changes)), tried=search.tried)


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
) -> Reason | None:
    # What a file has around a secret makes no verifier: one that nobody knows stands in for it.
    usable = [secret for secret in secrets if _bare(secret) == secret]
    if secrets and not usable:
        usable = [os.urandom(32).hex().encode()]
    try:
        Verifier(*usable, tolerance=tolerance, clock=lambda: now).verify(body, header)
    except SignatureError as error:
        return error.reason
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
        self._body = body
        self._bytes_left = _MAX_CANDIDATE_BYTES
        self.tried = 0

    @property
    def is_complete(self) -> bool:
        """Whether everything was tried."""
        return self.tried < _MAX_HASHES and self._bytes_left > 0

    def run(self, readings: Iterable[Reading]) -> _Found | None:
        """Return the first that fits; None if none does, or the bound is reached before."""
        targets = [target for reading in readings for target in _targets(reading)]
        stages = (
            (bodies.unchanged(self._body), (*self._given, *self._forms)),
            (bodies.originals(self._body), self._given),
            (bodies.originals(self._body, with_numbers=False), self._forms),
        )
        for candidates, keys in stages:
            found = self._among(candidates, keys, targets)
            if found is not None:
                return found
        other_messages = [each for reading in targets for each in _other_messages(reading)]
        return self._among(bodies.framed(self._body), (*self._given, *self._forms), other_messages)

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


def _targets(reading: Reading) -> Iterator[_Target]:
    text = reading.timestamp
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
        ("the body alone, without t", b""),
        ("t and the body, with nothing between them", stamp),
        ("t and the body with a colon between them", stamp + b":"),
        ("t and the body with a newline between them", stamp + b"\n"),
        ("t and the body with a comma between them", stamp + b","),
        ("v1, t and the body with colons between them", b"v1:" + stamp + b":"),
        ("a form of the body after t and the dot", target.prefix),
    ):
        change = Change(Code.OTHER_MESSAGE, f"signed was {what}")
        yield target._replace(prefix=prefix, changes=(*target.changes, change))


def _fits(digest: bytes, reading: Reading) -> bool:
    if reading.cut and digest.hex().startswith(reading.cut):
        return True
    return any(compare_digest(digest, signature) for signature in reading.signatures)
